"""Parts of the pages by themselves: differences, tournaments, sums over steps, searches, numbers as written."""

from __future__ import annotations

import asyncio
import re

import pytest

from rrm_plugin import RRMJudge
from rrm_plugin.ledger import Ledger
from rrm_plugin.types import Group, Scores
from rrm_plugin.viewer import differences
from rrm_plugin.viewer.differences import compare
from rrm_plugin.viewer.links import ServerLinks
from rrm_plugin.viewer.pages import Pages
from rrm_plugin.viewer.played import Tournament, label
from rrm_plugin.viewer.reading import LedgerReader, Listing, StoredGroup, StoredMatch
from rrm_plugin.viewer.searching import search
from rrm_plugin.viewer.summary import Summary
from rrm_plugin.viewer.templating import environment


def told(pieces):
    return "".join(f"[{piece.text}]" if piece.differs else piece.text for piece in pieces)


@pytest.mark.parametrize(
    ("first", "second", "left", "right"),
    [
        ("It is 4.", "It is 5.", "It is [4].", "It is [5]."),
        ("same\nmore", "same\nmore", "same\nmore", "same\nmore"),
        ("a b c", "a c", "a [b ]c", "a c"),
        ("", "x", "", "[x]"),
        ("", "", "", ""),
        ("one\ntwo\nthree", "one\nthree", "one\n[two\n]three", "one\nthree"),
    ],
)
def test_differences_are_marked_where_they_are(first, second, left, right):
    found = compare(first, second)
    assert (told(found.first), told(found.second)) == (left, right)


@pytest.mark.parametrize(
    "texts", [("a b " * 30_000, "b c " * 30_000), ("x\n" * 9_000, "y\n" * 9_000), ("x" * 10**6, "y")]
)
def test_long_texts_are_compared_whole_and_soon(texts):
    found = compare(*texts)
    assert tuple("".join(piece.text for piece in side) for side in found[:2]) == texts


def edited(lines):
    """A text and another one with the first and the last word of each long line changed."""
    return "".join(lines), "".join(
        f"changed {line.split(' ', 1)[1].rsplit(' ', 1)[0]} too\n" if " " in line else line for line in lines
    )


@pytest.mark.timeout(60)
def test_a_long_text_of_lines_that_come_again_and_again_is_marked_word_by_word():
    text = " ".join(f"word{number}" for number in range(60))
    lines = [f"line{n} {text} end\n" if n % 2 else ("}\n", "\n")[n % 4 > 1] for n in range(3000)]
    one, other = edited(lines)
    assert len(one) > 600_000
    found = compare(one, other)
    assert ("".join(piece.text for piece in found.first), "".join(piece.text for piece in found.second)) == (one, other)
    marked = [piece.text for piece in found.first if piece.differs]
    assert marked == [word for n in range(1, 3000, 2) for word in (f"line{n}", "end")]
    assert found.detail == "words" and found.marked


@pytest.mark.parametrize(
    ("steps", "detail", "told_of"),
    [
        (10**6, "words", "[one] same words [here]\nkept\n[two] other words [there]\n"),
        (8, "lines", "[one same words here\n]kept\n[two other words there\n]"),
        (2, "none", "one same words here\nkept\ntwo other words there\n"),
    ],
)
def test_where_steps_are_used_up_lines_are_marked_and_then_nothing(monkeypatch, steps, detail, told_of):
    monkeypatch.setattr(differences, "STEPS", steps)
    one, other = edited(["one same words here\n", "kept\n", "two other words there\n"])
    found = compare(one, other)
    assert (told(found.first), found.detail) == (told_of, detail)
    assert compare(one, one).shared == 1


@pytest.mark.parametrize(
    ("steps", "told_of"),
    [
        (10**6, [">Differences<"]),
        (8, [">Differences<", "some lines are marked as a whole"]),
        (2, ["too long to mark differences"]),
    ],
)
def test_a_page_says_how_closely_texts_were_compared(tmp_path, monkeypatch, steps, told_of):
    monkeypatch.setattr(differences, "STEPS", steps)
    texts = edited(["one same words here\n", "kept-as-it-is-and-long-enough-to-count\n", "two other words there\n"])
    with RRMJudge(engine="scripted:longer", ledger=tmp_path / "run.db") as judge:
        judge.score_groups([Group(prompt="q", responses=texts)])
    reader = LedgerReader(tmp_path / "run.db")
    pages = Pages(reader, Summary(reader), ServerLinks())
    page = pages.render("match.html", pages.match(1, 1) or {})
    found = re.findall(">Differences<|some lines are marked as a whole|too long to mark differences", page)
    assert found == told_of


def test_texts_that_share_little_are_not_marked():
    assert not compare("completely different words here", "nothing alike at all, truly").marked
    assert compare("almost the same words", "almost the same word").marked


def group(scores, *matches, schedule="round_robin", responses=None):
    return StoredGroup(
        id=1,
        created=0.0,
        name="",
        step=None,
        prompt="q",
        responses=responses or [f"text {n}" for n in range(len(scores))],
        reference=None,
        scores=scores,
        rewards=None,
        lengths=None,
        matches=tuple(
            StoredMatch(number=number, first=first, second=second, round=round, verdict=verdict, reason=None, keys=())
            for number, (first, second, verdict, round) in enumerate(matches, start=1)
        ),
        settings={"schedule": schedule},
        error=None,
    )


def test_standings_rank_equal_scores_alike_and_unscored_ones_last():
    played = Tournament(group([0.0, None, 2.0, 2.0], (0, 2, "second", 0), (2, 0, "first", 0), (0, 1, None, 0)))
    told = [(one.label, one.rank, one.wins, one.losses, one.silent) for one in played.standings]
    assert told == [("R2", 1, 2, 0, 0), ("R3", 1, 0, 0, 0), ("R0", 3, 0, 2, 1), ("R1", None, 0, 0, 1)]
    assert [one.bar for one in played.standings] == [1.0, 1.0, 0.0, 0.0]


def test_a_response_that_was_not_judged_names_the_one_it_equals():
    played = Tournament(group([1.0, 0.0, 1.0], (0, 1, "first", 0), responses=["a", "b", "a"]))
    assert {one.label: one.same_as for one in played.standings} == {"R0": None, "R1": None, "R2": 0}


def test_the_matrix_is_by_who_was_shown_first_and_knows_contradictions():
    played = Tournament(group([1.0, 0.0], (0, 1, "first", 0), (1, 0, "first", 0)))
    (_, cell), (other, _) = played.matrix()
    assert (cell.state, cell.match, cell.contradicted) == ("win", 1, True)
    assert (other.state, other.match, other.contradicted) == ("win", 2, True)
    assert [played.other_order(match) for match in played.group.matches] == ["says otherwise"] * 2


def test_other_orders_that_are_silent_or_agree_are_told_apart():
    played = Tournament(
        group([1.0, 0.0, 0.0], (0, 1, "first", 0), (1, 0, "second", 0), (0, 2, "first", 0), (2, 0, None, 0))
    )
    assert [played.other_order(match) for match in played.group.matches] == ["agrees", "agrees", "no verdict", ""]


def test_matches_that_were_played_twice_share_a_cell():
    played = Tournament(group([1.0, 0.0], (0, 1, "first", 0), (0, 1, "second", 1)))
    assert played.matrix()[0][1].state == "mixed"


def test_a_large_group_has_no_matrix():
    assert Tournament(group([0.0] * 50)).matrix() is None


def test_a_knockout_has_rounds_and_byes():
    matches = [(1, 2, "first", 0), (2, 1, "second", 0), (0, 1, "first", 1), (1, 0, "second", 1)]
    played = Tournament(group([2.0, 1.0, 0.0], *matches, schedule="knockout"))
    assert played.knockout and played.byes() == [[0]]
    assert [[(p.one, p.other, p.winner, p.contradicted) for p in each] for each in played.rounds()] == [
        [(1, 2, 1, False)],
        [(0, 1, 0, False)],
    ]


def test_a_reference_has_no_rank_and_a_name():
    played = Tournament(group([1.0, 0.0], (0, 2, "first", 0)))
    assert played.players == [0, 1, 2] and label(2, 2) == "ref"


@pytest.fixture
def recorded(tmp_path):
    """A ledger and a function that adds groups of some steps."""
    ledger = Ledger(tmp_path / "run.db")

    def add(*steps):
        for step in steps:
            group = Group(prompt=f"step {step}", responses=["a", "bb"], step=step)
            asyncio.run(ledger.record_group(group, Scores(values=[0.0, float(step or 0)], cycles=1, agreement=0.5)))

    yield ledger.path, add
    ledger.close()


def test_sums_grow_with_the_ledger_and_are_those_of_all_its_groups(recorded):
    path, add = recorded
    add(1, 1, 2)
    summary = Summary(LedgerReader(path))
    for steps in ((), (2, 3), (3,), (None, None)):
        add(*steps)
        summary.refresh()
    whole = Summary(LedgerReader(path))
    whole.refresh()
    assert [(point.place, point.sums) for point in summary.points()] == [(p.place, p.sums) for p in whole.points()]
    assert [point.sums["groups"] for point in summary.points()] == [2, 2, 2]
    assert summary.points()[2].mean("spread") == 1.5 and summary.points()[0].mean("order_agreement") == 0.5
    assert summary.points()[0].mean("length_correlation") == pytest.approx(1.0)
    assert summary.points()[0].mean("verdict_rate") is None
    assert summary.without_step() == 2 and summary.whole().sums["groups"] == 8
    assert summary.neighbours(2) == (1, 3) and summary.neighbours(1) == (None, 2) and summary.step(9) is None


def test_many_steps_are_taken_together(recorded):
    path, add = recorded
    add(*range(10))
    summary = Summary(LedgerReader(path))
    summary.refresh()
    assert [(point.place, point.until) for point in summary.points(most=4)] == [(0, 2), (3, 5), (6, 8), (9, 9)]


def test_groups_without_steps_are_taken_together_by_sixteen(recorded):
    path, add = recorded
    add(*[None] * 20)
    summary = Summary(LedgerReader(path))
    summary.refresh()
    assert [(point.first_id, point.last_id, point.sums["groups"]) for point in summary.points()] == [
        (1, 16, 16),
        (17, 20, 4),
    ]


def test_batches_grow_where_there_are_many_and_lose_nothing(recorded, monkeypatch):
    from rrm_plugin.viewer import summary as module

    monkeypatch.setattr(module, "MOST_POINTS", 1)
    path, add = recorded
    summary = Summary(LedgerReader(path))
    for count in (20, 30, 1, 70):
        add(*[None] * count)
        summary.refresh()
    told = [(point.first_id, point.last_id, point.sums["groups"]) for point in summary.points(most=9)]
    assert told == [(1, 64, 64), (65, 121, 57)]


def test_neighbours_are_those_of_the_list(recorded):
    path, add = recorded
    add(1, 2, 1)
    reader = LedgerReader(path)
    assert reader.neighbours(2, Listing()) == (3, 1)
    assert reader.neighbours(3, Listing(step=1)) == (None, 1)
    assert reader.neighbours(2, Listing(shown="cycles")) == (3, 1)
    assert reader.neighbours(2, Listing(shown="steering")) == (None, None)


@pytest.mark.parametrize("shown", ["disagreements", "upsets", "cycles", "failures", "unscored", "steering"])
def test_each_list_has_its_index(recorded, shown):
    from rrm_plugin.viewer import reading

    path, add = recorded
    add(1)
    where, values = reading._where(Listing(shown=shown))
    with LedgerReader(path).connection() as connection:
        query = f"EXPLAIN QUERY PLAN SELECT * FROM group_numbers{where} {reading._order(Listing(shown=shown))} LIMIT 9"
        plan = " ".join(row[3] for row in connection.execute(query, values))
    assert f"USING INDEX numbers_by_{shown.replace('upsets', 'upset')}" in plan and "TEMP B-TREE" not in plan


def test_a_search_goes_on_where_it_stopped_until_all_is_read(recorded):
    path, add = recorded
    add(*range(200))
    reader, before, hits, requests = LedgerReader(path), None, [], 0
    while True:
        found = search(reader, "STEP 1", before=before, seconds=0.0)
        hits += [hit.group for hit in found.hits]
        before, requests = found.next, requests + 1
        if before is None:
            break
    assert hits == [id for id in range(200, 0, -1) if f"step {id - 1}".startswith("step 1")] and requests == 200
    assert search(reader, "STEP 1", place="judge").hits == []


def test_a_search_for_nothing_reads_nothing(recorded):
    path, add = recorded
    add(1)
    assert search(LedgerReader(path), "").groups == 0


@pytest.mark.parametrize(
    ("filter", "value", "shown"),
    [
        ("percent", 0.9999, "99.9%"),
        ("percent", 1.0, "100%"),
        ("percent", 0.0001, "0.1%"),
        ("percent", 0.5, "50%"),
        ("percent", None, "\u2013"),
        ("count", 999, "999"),
        ("count", 12_345, "12.3k"),
        ("count", 2_500_000, "2.5M"),
        ("signed", -0.5, "\u22120.50"),
        ("number", None, "\u2013"),
        ("visible", "a\u202eb\x00c\r\n", "a\u27e8U+202E\u27e9b\u27e8U+0000\u27e9c\n"),
    ],
)
def test_numbers_and_texts_are_written(filter, value, shown):
    assert environment().filters[filter](value) == shown


def test_addresses_carry_the_list_that_one_came_from():
    links = ServerLinks()
    assert links.group(3, Listing(shown="cycles", step=2)) == "/group/3?show=cycles&step=2"
    assert links.search('"<&') == "/search?q=%22%3C%26" and links.groups() == "/groups"
