"""From sources to a file: what is written, what is refused and why, in which order, and in how much memory."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_plugin import ConfigError, RRMJudge
from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.prompts import load_prompt
from rrm_plugin.training.builder import Summary, mixed, write_training_data
from rrm_plugin.training.candidates import Preparation
from rrm_plugin.training.checks import Benchmarks
from rrm_plugin.training.sources import source


def write(path: Path, rows) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def pair(number, **changes):
    return {"prompt": f"question {number}", "chosen": f"good {number}", "rejected": f"bad {number}"} | changes


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def build(tmp_path, *rows, preparation=None, **options):
    out = tmp_path / "train.jsonl"
    made = source(write(tmp_path / "in.jsonl", rows))
    summary = write_training_data([made], out, preparation or Preparation(), **options)
    return read(out), summary, read(tmp_path / "train.jsonl.rejects.jsonl")


def test_a_row_is_what_the_three_trainers_read(tmp_path):
    (row,), summary, rejects = build(tmp_path, pair(1))
    better = "good 1" if row["label"] == 1 else "bad 1"
    user = row["prompt"][-1]["content"]
    assert user.index("### Assistant 1") < user.index(better) < user.index("### Assistant 2")
    assert row["reward_model"] == {"style": "rule", "ground_truth": str(row["label"])}
    assert row["source"] == row["data_source"] == row["datasource"] == "in"
    assert row["id"] == f"{row['pair']}-{row['label']}"
    assert row["extra_info"] == {"index": 0, "origin": f"{tmp_path / 'in.jsonl'}:1"}
    assert (summary.pairs, summary.rows, rejects) == (1, 1, [])


class Listening(ScriptedEngine):
    def __init__(self):
        super().__init__(self._reply)
        self.heard = []

    def _reply(self, messages):
        self.heard.append([dict(message) for message in messages])
        return r"\boxed{Assistant 1}"


@pytest.mark.parametrize("preset", ["rrm", "rm_r1", "llmbar"])
def test_the_prompt_is_the_one_that_the_judge_is_asked_with(tmp_path, preset):
    values = pair(
        1,
        prompt=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "## Query\n<|im_end|>?"}],
        chosen=r"<think>hm</think>\boxed{Assistant 1} is [[A]]",
        rejected="Output (a) is better\u200b",
    )
    (row,), _, _ = build(tmp_path, values, preparation=Preparation(prompt=load_prompt(preset)))
    engine = Listening()
    first, second = (values["chosen"], values["rejected"])[:: 1 if row["label"] == 1 else -1]
    with RRMJudge(engine=engine, prompt=preset) as judge:
        judge.compare(values["prompt"], first, second)
    assert engine.heard == [row["prompt"]]


def test_words_that_trainers_take_for_pictures_are_broken(tmp_path):
    (row,), _, _ = build(tmp_path, pair(1, chosen="see <image> and <video>", prompt="<audio>?"))
    text = row["prompt"][-1]["content"]
    assert not any(token in text for token in ("<image>", "<video>", "<audio>")) and "image>" in text


def test_half_of_the_better_responses_come_first_and_rows_keep_their_order(tmp_path):
    rows, summary, _ = build(tmp_path, *(pair(number) for number in range(400)))
    assert 160 < summary.sources["in"].first < 240
    labels = {row["pair"]: row["label"] for row in rows}
    fewer, _, _ = build(tmp_path, *(pair(number) for number in range(399, 0, -7)))
    assert all(labels[row["pair"]] == row["label"] for row in fewer)
    other, _, _ = build(tmp_path, *(pair(number) for number in range(400)), preparation=Preparation(seed=1))
    assert [row["pair"] for row in other] == [row["pair"] for row in rows]
    assert 120 < sum(old["label"] != new["label"] for old, new in zip(rows, other, strict=True)) < 280


def test_both_orders_stand_next_to_each_other(tmp_path):
    rows, summary, _ = build(tmp_path, *(pair(number) for number in range(20)), orders="both")
    assert (summary.pairs, summary.rows) == (20, 40)
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["pair"] == second["pair"] and {first["label"], second["label"]} == {1, 2}
    assert len({row["id"] for row in rows}) == 40
    assert 2 < sum(row["label"] == 1 for row in rows[::2]) < 18


BAD = [
    ("{broken", "broken", 2),
    ('["list"]', "no_row", None),
    (pair(1, chosen=None), "missing", "chosen"),
    (pair(1, rejected=7), "wrong_type", "rejected"),
    (pair(1, rejected="good 1"), "identical", "rejected"),
    (pair(1, rejected="<think>x</think>good 1"), "identical", "rejected"),
    (pair(1, chosen="<think>never ends"), "empty", "chosen"),
    (pair(1, prompt=" \n"), "empty", "prompt"),
    (pair(0), "duplicate", None),
    (pair(0, chosen="bad 0", rejected="good 0"), "contradiction", None),
    (pair(1, prompt="What is the sky?"), "benchmark", "prompt"),
    (
        pair(1, prompt=[{"role": "system", "content": "s"}, {"role": "user", "content": "what is the sky"}]),
        "benchmark",
        "prompt",
    ),
]


def test_every_row_that_is_not_used_is_counted_and_named(tmp_path):
    benchmarks = Benchmarks()
    benchmarks.add(source(write(tmp_path / "bench.jsonl", [{"prompt": "What is the sky?"}])))
    rows, summary, rejects = build(
        tmp_path, pair(0), *(bad for bad, _, _ in BAD), pair(2), preparation=Preparation(benchmarks=benchmarks)
    )
    assert [row["extra_info"]["origin"].rpartition(":")[2] for row in rows] == ["1", str(len(BAD) + 2)]
    assert [(reject["reason"], reject["column"]) for reject in rejects] == [bad[1:] for bad in BAD]
    assert [reject["line"] for reject in rejects] == list(range(2, len(BAD) + 2))
    assert all(reject["file"].endswith("in.jsonl") and reject["source"] == "in" for reject in rejects)
    assert summary.rejects == Counter(reason for _, reason, _ in BAD)
    assert summary.sources["in"].read == len(rows) + len(rejects)
    assert "benchmark" in summary.told() and "100.0%" not in summary.told().splitlines()[0]


def test_a_refused_row_does_not_make_a_later_one_a_duplicate(tmp_path):
    long = Preparation(limit=Refuse(first=1))
    rows, _, rejects = build(tmp_path, pair(0), pair(0), preparation=long)
    assert [reject["reason"] for reject in rejects] == ["too_long"] and len(rows) == 1


class Refuse:
    """A token limit that refuses the first prompts."""

    def __init__(self, first):
        self.left = first

    def check(self, messages):
        from rrm_plugin.training.pairs import RowError
        from rrm_plugin.training.sources import RejectReason

        self.left -= 1
        if self.left >= 0:
            raise RowError(None, RejectReason.TOO_LONG, "too long")


def test_duplicates_may_be_kept(tmp_path):
    rows, _, _ = build(tmp_path, pair(0), pair(0), preparation=Preparation(seen=None))
    assert len(rows) == 2


def test_texts_that_are_no_valid_unicode_are_written_all_the_same(tmp_path):
    line = '{"prompt": "q \\ud800", "chosen": "a\\u0000", "rejected": "b \\udfff"}'
    (row,), _, _ = build(tmp_path, line)
    assert "q \ufffd" in row["prompt"][-1]["content"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no row"),
        (["{broken", "{too"], r"of 2 rows not one holds a pair.*broken 2"),
        ([pair(1, chosen="bad 1")], "identical 1"),
        ([{"text": "a"}], "The columns are: text"),
    ],
)
def test_a_run_that_leaves_nothing_is_an_error_and_keeps_an_earlier_file(tmp_path, rows, message):
    (tmp_path / "train.jsonl").write_text("earlier\n")
    with pytest.raises(ConfigError, match=message):
        build(tmp_path, *rows)
    assert (tmp_path / "train.jsonl").read_text() == "earlier\n"


def test_the_layout_is_that_of_the_first_row_that_is_one(tmp_path):
    rows, _, rejects = build(tmp_path, "{broken", pair(1), {"prompt": "q", "response_1": "a"}, pair(2))
    assert len(rows) == 2 and [reject["reason"] for reject in rejects] == ["broken", "missing"]


def two(tmp_path, left, right):
    first = write(tmp_path / "left.jsonl", [pair(f"l{number}") for number in range(left)])
    second = write(tmp_path / "right.jsonl", [pair(f"r{number}") for number in range(right)])
    return [source(first), source(second)]


def test_sources_are_mixed_in_their_shares_until_one_runs_out(tmp_path):
    out = tmp_path / "train.jsonl"
    summary = write_training_data(two(tmp_path, 100, 5), out, Preparation(), weights={"left": 5, "right": 1})
    names = [row["source"] for row in read(out)]
    assert names.count("right") == 5 and 25 <= names.count("left") <= 31
    assert summary.ended == "the mixture ended when right ran out" and summary.ended in summary.told()
    assert all(names[start : start + 6].count("right") == 1 for start in range(0, 30, 6))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 200))
def test_a_mixture_keeps_its_shares_at_every_point(weights, wanted):
    names = [str(index) for index in range(len(weights))]
    streams = {name: iter([name] * 500) for name in names}
    stream = mixed(streams, dict(zip(names, weights, strict=True)), Summary())
    counts: Counter[str] = Counter()
    for taken, name in zip(range(1, wanted + 1), stream, strict=False):
        counts[name] += 1
        for other, weight in zip(names, weights, strict=True):
            # Within one for two sources; with more of them the bound of this kind of division is their number.
            assert abs(counts[other] - taken * weight / sum(weights)) <= max(1, len(weights) / 2)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"left": 1, "centre": 1}, "'centre'"),
        ({"left": 1}, "'right'"),
        ({"left": -1, "right": 1}, "from 0"),
        ({"left": 0, "right": 0}, "every source"),
    ],
)
def test_mixtures_that_make_no_sense_are_refused(tmp_path, weights, message):
    with pytest.raises(ConfigError, match=message):
        write_training_data(two(tmp_path, 1, 1), tmp_path / "train.jsonl", Preparation(), weights=weights)


def test_a_source_may_be_left_out_of_a_mixture(tmp_path):
    out = tmp_path / "train.jsonl"
    write_training_data(two(tmp_path, 3, 3), out, Preparation(), weights={"left": 0, "right": 1})
    assert {row["source"] for row in read(out)} == {"right"}


def test_as_many_pairs_as_told(tmp_path):
    rows, summary, _ = build(tmp_path, *(pair(number) for number in range(10)), orders="both", most=3)
    assert len(rows) == 6 and "3 pairs" in summary.ended


def test_duplicates_are_seen_across_sources(tmp_path):
    write(tmp_path / "a.jsonl", [pair(1)])
    write(tmp_path / "b.jsonl", [pair(1), pair(2)])
    sources = [source(str(tmp_path / name)) for name in ("a.jsonl", "b.jsonl")]
    summary = write_training_data(sources, tmp_path / "train.jsonl", Preparation())
    assert summary.sources["b"].rejects == {"duplicate": 1} and summary.pairs == 2


def test_where_it_cannot_be_written_is_said(tmp_path):
    made = source(write(tmp_path / "in.jsonl", [pair(1)]))
    for out, message in (
        (tmp_path / "nowhere" / "train.jsonl", "cannot be written"),
        (tmp_path / "train.txt", ".jsonl"),
        (tmp_path / "in.jsonl", "written over"),
    ):
        with pytest.raises(ConfigError, match=message):
            write_training_data([made], out, Preparation())
    with pytest.raises(ConfigError, match="two sources are called 'in'"):
        write_training_data([made, made], tmp_path / "train.jsonl", Preparation())


def test_real_preferences_become_rows(tmp_path, shared_data):
    sources = [source(str(shared_data(f"llmbar/LLMBar_{name}.json"))) for name in ("Natural", "Adversarial_Manual")]
    summary = write_training_data(sources, tmp_path / "train.jsonl", Preparation(), orders="both")
    rows = read(tmp_path / "train.jsonl")
    assert summary.pairs == 100 + 46 and len(rows) == 292
    original = {item["input"]: item for item in json.loads(shared_data("llmbar/LLMBar_Natural.json").read_text())}
    checked = 0
    for row in rows:
        user = row["prompt"][-1]["content"]
        query = user.split("## Query\n\n")[1].split("\n\n## Assistant responses")[0]
        item = original.get(query)
        if item is None:
            continue
        shown = user.split(f"### Assistant {row['label']}\n\n")[1]
        assert shown.startswith(item[f"output_{item['label']}"].strip()[:40])
        checked += 1
    assert checked > 150
