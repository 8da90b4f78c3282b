"""Rows become whole groups whatever the split over ranks, and no rank waits for another that failed.

Ranks are threads here, each waiting for all at every gather, as processes do; real ones are in
tests/contract/test_trl_ranks.py.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from rrm_plugin.errors import GroupError, RRMError
from rrm_plugin.processes import Alone
from rrm_plugin.rows import Rows, TrainerView, group_size, reward_rows, reward_rows_here, trainer_view
from rrm_plugin.types import Judgement, Match, Scores, Verdict

UNKNOWN = TrainerView()


class Meeting:
    """Where threads meet as ranks; a rank that never comes breaks it after two seconds instead of hanging."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.items = [None] * size
        self.barrier = threading.Barrier(size, timeout=2)


@dataclass
class Rank:
    meeting: Meeting
    rank: int

    @property
    def size(self) -> int:
        return self.meeting.size

    def gather(self, item):
        self.meeting.items[self.rank] = item
        self.meeting.barrier.wait()
        gathered = list(self.meeting.items)
        self.meeting.barrier.wait()
        return gathered


def on_ranks(parts, work):
    """The results, or errors, of `work(rank, rows)` on as many ranks as there are parts."""
    meeting = Meeting(len(parts))

    def run(index):
        try:
            return work(Rank(meeting, index), parts[index])
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(run, range(len(parts))))


def rows(prompts, start=0, references=None):
    completions = [f"answer {start + index}" for index in range(len(prompts))]
    return Rows(
        prompts=prompts, completions=completions, lengths=[len(one) for one in completions], references=references
    )


class Recorder:
    """Scores a response by the number in it, and remembers which groups it was given."""

    def __init__(self) -> None:
        self.groups = []

    def __call__(self, groups, lengths):
        self.groups += groups
        assert [len(own) for own in lengths] == [len(group.responses) for group in groups]
        return [self._one(group) for group in groups]

    @staticmethod
    def _one(group):
        values = [float(text.split()[1]) for text in group.responses]
        judgement = Judgement(verdict=Verdict.FIRST, text="said so", match=Match(first=0, second=1), engine="e")
        return Scores(values=values, judgements=(judgement,)), values


def test_one_process_cuts_by_position_though_all_prompts_are_alike():
    score = Recorder()
    scored = reward_rows(lambda: rows(["q"] * 8), 4, UNKNOWN, Alone(), score)
    assert scored.rewards == [float(index) for index in range(8)]
    assert [len(group.responses) for group in score.groups] == [4, 4]
    assert scored.notes[0] == "won 1, lost 0, tied 0, no verdict 0; e: said so"
    assert scored.notes[1].startswith("won 0, lost 1")


@pytest.mark.parametrize("lengths", [(4, 4), (2, 2), (6, 6), (3, 5), (1, 7), (2, 2, 4)])
def test_every_split_gives_the_rewards_of_one_process_and_judges_once(lengths):
    prompts = [f"q{index // 4}" for index in range(sum(lengths))]
    begins = [sum(lengths[:rank]) for rank in range(len(lengths))]
    parts = [rows(prompts[begin : begin + count], begin) for begin, count in zip(begins, lengths, strict=True)]
    recorders = [Recorder() for _ in parts]
    if sum(lengths) % 4:
        pytest.fail("the case is meant to hold whole groups")
    results = on_ranks(parts, lambda rank, own: reward_rows(lambda: own, 4, UNKNOWN, rank, recorders[rank.rank]))
    assert [result.rewards for result in results] == [
        [float(index) for index in range(begin, begin + count)] for begin, count in zip(begins, lengths, strict=True)
    ]
    judged = [tuple(group.responses) for recorder in recorders for group in recorder.groups]
    assert len(judged) == len(set(judged)) == sum(lengths) // 4
    assert [len(result.scores) for result in results] == [sum(lengths) // 4] * len(lengths)


def test_references_travel_with_their_rows():
    parts = [rows(["q"] * 2, 0, ["r"] * 2), rows(["q"] * 2, 2, ["r"] * 2)]
    recorders = [Recorder(), Recorder()]
    on_ranks(parts, lambda rank, own: reward_rows(lambda: own, 4, UNKNOWN, rank, recorders[rank.rank]))
    assert [group.reference for recorder in recorders for group in recorder.groups] == ["r"]


def test_rows_that_make_no_whole_groups_are_an_error_on_every_rank():
    parts = [rows(["q"] * 3), rows(["q"] * 2, 3)]
    results = on_ranks(parts, lambda rank, own: reward_rows(lambda: own, 4, UNKNOWN, rank, Recorder()))
    assert all(isinstance(result, GroupError) for result in results)
    assert "per_device_train_batch_size" in str(results[0])


@pytest.mark.parametrize("whole", [True, False])
def test_a_failure_on_one_rank_is_raised_on_all(whole):
    counts = (4, 4) if whole else (2, 6)
    parts = [rows(["q"] * counts[0]), rows(["q"] * counts[1], counts[0])]

    def fail(groups, lengths):
        raise KeyError("disk")

    def work(rank, own):
        return reward_rows(lambda: own, 4, UNKNOWN, rank, fail if rank.rank == 1 else Recorder())

    results = on_ranks(parts, work)
    assert all(isinstance(result, RRMError) and "rank 1" in str(result) and "disk" in str(result) for result in results)


def test_a_rank_that_cannot_tell_the_group_size_stops_all():
    parts = [rows(["q"] * 4), rows(["a", "b", "b", "b"], 4)]
    results = on_ranks(parts, lambda rank, own: reward_rows(lambda: own, None, UNKNOWN, rank, Recorder()))
    assert all(isinstance(result, GroupError) for result in results)


def test_rows_that_cannot_even_be_made_on_one_rank_stop_all():
    def make(rank):
        if rank.rank == 0:
            raise TypeError("a completion must be a text")
        return rows(["q"] * 4)

    results = on_ranks([None, None], lambda rank, _: reward_rows(lambda: make(rank), 4, UNKNOWN, rank, Recorder()))
    assert all(isinstance(result, RRMError) and "must be a text" in str(result) for result in results)


def test_rows_that_do_not_pickle_stop_all_ranks():
    odd = [{"role": "user", "content": threading.Lock()}]
    parts = [rows([odd] * 2), rows(["q"] * 2)]
    results = on_ranks(parts, lambda rank, own: reward_rows(lambda: own, 4, UNKNOWN, rank, Recorder()))
    assert all(isinstance(result, RRMError) and "pickle" in str(result) for result in results)


def test_mixed_prompts_in_a_group_are_an_error():
    with pytest.raises(GroupError, match="rows 2 to 3"):
        reward_rows(lambda: rows(["a", "a", "b", "c"]), 2, UNKNOWN, Alone(), Recorder())


@pytest.mark.parametrize(
    ("prompts", "configured", "trainer", "size"),
    [
        (["a", "a", "b", "b"], None, UNKNOWN, 2),
        (["a"] * 4, None, UNKNOWN, 4),
        (["a"] * 4, 2, UNKNOWN, 2),
        (["a"] * 4, None, TrainerView(group_size=2), 2),
        (["a"] * 4, 4, TrainerView(group_size=2, training=False), 2),
    ],
)
def test_where_the_group_size_comes_from(prompts, configured, trainer, size):
    assert group_size(rows(prompts), configured, trainer) == size


def test_a_size_that_contradicts_the_trainer_is_an_error():
    with pytest.raises(GroupError, match="num_generations=4"):
        group_size(rows(["a"] * 4), 4, TrainerView(group_size=2))


@pytest.mark.parametrize("prompts", [["a", "a", "b"], ["a", "b", "a", "b"]], ids=["uneven", "interleaved"])
def test_an_ambiguous_size_is_an_error(prompts):
    with pytest.raises(GroupError, match="num_generations"):
        group_size(rows(prompts), None, UNKNOWN)


def test_prompts_with_one_completion_each_are_told_apart_from_an_ambiguous_size():
    with pytest.raises(GroupError, match="each prompt has one completion"):
        group_size(rows(["a", "b"]), None, UNKNOWN)


def test_the_trainer_is_seen_through_its_bound_method():
    class Model:
        training = True

    class Trainer:
        model = Model()
        num_generations = 8
        num_generations_eval = 2

        def log_extra(self, column, values):
            pass

    trainer = Trainer()
    assert trainer_view(trainer.log_extra) == TrainerView(group_size=8)
    trainer.model.training = False
    assert trainer_view(trainer.log_extra) == TrainerView(group_size=2, training=False)
    assert trainer_view(None) == trainer_view(lambda column, values: None) == UNKNOWN


def test_awaited_rows_are_judged_here_and_split_ones_refused():
    async def score(groups, lengths):
        return Recorder()(groups, lengths)

    scored = asyncio.run(reward_rows_here(rows(["q"] * 4), 2, UNKNOWN, score))
    assert scored.rewards == [0.0, 1.0, 2.0, 3.0]
    with pytest.raises(GroupError, match="as reward function"):
        asyncio.run(reward_rows_here(rows(["q"] * 3), 2, UNKNOWN, score))
