"""A tournament plays the schedule, judges what is alike once, votes no more than needed, and isolates what fails."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm_plugin.engines import ScriptedEngine
from rrm_plugin.errors import ConfigError, EngineError
from rrm_plugin.judge import PairJudge
from rrm_plugin.looks import majority_of
from rrm_plugin.prompts import load_prompt
from rrm_plugin.reducers import reducer
from rrm_plugin.schedules import schedule
from rrm_plugin.tournament import Tournament
from rrm_plugin.types import Group, Judgement, Reason, Usage, Verdict

PROMPT = load_prompt("rrm")
SHOWN = re.compile(r"### Assistant 1\n\n(.*?)\n\n### Assistant 2\n\n(.*?)\n\n## Analysis", re.DOTALL)
FIRST, SECOND = r"\boxed{Assistant 1}", r"\boxed{Assistant 2}"


def shown(messages) -> tuple[str, str]:
    return SHOWN.search(messages[-1]["content"]).groups()


class Calls:
    """A judge that prefers the larger number, and remembers what it was shown."""

    def __init__(self, reply=None) -> None:
        self.pairs: list[tuple[str, str]] = []
        self._reply = reply or (lambda first, second: FIRST if float(first) > float(second) else SECOND)

    def __call__(self, messages):
        self.pairs.append(shown(messages))
        return self._reply(*self.pairs[-1])


def tournament(reply, **settings) -> Tournament:
    defaults = {"schedule": schedule("round_robin"), "reducer": reducer("win_rate")}
    judge = PairJudge(engine=ScriptedEngine(reply), prompt=PROMPT)
    return Tournament(judge=judge, **(defaults | settings))


def score(play: Tournament, *responses, **group):
    return asyncio.run(play.score_group(Group(prompt="q", responses=responses, **group)))


def test_a_perfect_judge_orders_the_group_and_costs_both_orders_of_all_pairs():
    calls = Calls()
    scores = score(tournament(calls), "2", "5", "3", "1")
    assert scores.ranking == [1, 2, 0, 3]
    assert scores.values == pytest.approx([-1 / 3, 1.0, 1 / 3, -1.0])
    assert scores.calls == len(calls.pairs) == 12
    assert scores.agreement == 1.0 and scores.first_rate == 0.5 and scores.cycles == 0
    assert scores.settings["schedule"] == "round_robin" and scores.settings["orders"] == "both"


def test_a_judge_that_sees_positions_only_scores_all_alike():
    scores = score(tournament(lambda messages: FIRST), "1", "2", "3")
    assert scores.values == [0.0, 0.0, 0.0]
    assert scores.agreement == 0.0 and scores.first_rate == 1.0


def test_identical_responses_are_judged_once_and_share_the_score():
    calls = Calls()
    scores = score(tournament(calls), "2", "5", "2", "<think>other words</think>2")
    assert len(calls.pairs) == 2
    assert scores.values == [-1.0, 1.0, -1.0, -1.0]
    assert scores.duplicates == 2
    assert {(one.match.first, one.match.second) for one in scores.judgements} == {(0, 1), (1, 0)}


def test_same_as_widens_what_is_identical():
    calls = Calls(lambda first, second: FIRST if "5" in first else SECOND)
    last_number = lambda text: re.findall(r"\d+", text)[-1]  # noqa: E731
    scores = score(tournament(calls, same_as=last_number), "it is 5", "so 4", "thus 5")
    assert len(calls.pairs) == 2
    assert scores.values == [1.0, -1.0, 1.0]


def test_a_same_as_key_of_none_is_like_no_other():
    scores = score(tournament(Calls(), same_as=lambda text: None), "1", "2", "1")
    assert scores.calls == 2
    assert scores.values[0] == scores.values[2]


def test_a_group_with_nothing_to_compare_says_so():
    play = tournament(Calls())
    assert score(play, "1").values == [None] and "schedule='reference'" in score(play, "1").error
    assert score(play).values == [] and score(play).error == "the group is empty"


@pytest.mark.parametrize("name", ["win_rate", "majority", "bradley_terry", "elo", "knockout_rank"])
def test_responses_that_are_all_the_same_are_equally_good_without_a_call(name):
    calls = Calls()
    scores = score(tournament(calls, reducer=reducer(name)), "1", "1", "1")
    tied = score(tournament(lambda messages: FIRST, reducer=reducer(name)), "1", "2")
    assert not calls.pairs and scores.calls == 0 and scores.error is None
    assert scores.values == [tied.values[0]] * 3
    assert scores.duplicates == 2


def test_a_reference_is_met_by_all_and_gets_no_score():
    calls = Calls()
    scores = score(tournament(calls, schedule=schedule("reference")), "1", "3", "9", reference="2")
    assert len(calls.pairs) == 6 and all("2" in pair for pair in calls.pairs)
    assert scores.values == [-1.0, 1.0, 1.0]
    assert {max(one.match.first, one.match.second) for one in scores.judgements} == {3}


def test_one_response_can_be_judged_against_a_reference():
    assert score(tournament(Calls(), schedule=schedule("reference")), "3", reference="2").values == [1.0]


def test_a_response_equal_to_the_reference_is_not_judged_against_itself():
    calls = Calls()
    scores = score(tournament(calls, schedule=schedule("reference")), "2", "3", reference="2")
    assert len(calls.pairs) == 2 and all(first != second for first, second in calls.pairs)
    assert scores.values[1] > scores.values[0]


def test_a_missing_reference_is_said():
    assert "has none as 'reference'" in score(tournament(Calls(), schedule=schedule("reference")), "1", "2").error


def test_a_member_as_reference_keeps_its_place_among_duplicates():
    calls = Calls()
    scores = score(tournament(calls, schedule=schedule("reference:3")), "1", "1", "2", "3")
    assert all("3" in pair for pair in calls.pairs)
    assert scores.values[0] == scores.values[1] == -1.0 and scores.values[3] == 1.0


def test_seeds_of_a_knockout_keep_their_responses_among_duplicates():
    calls = Calls()
    scores = score(
        tournament(calls, schedule=schedule("knockout:4,3,2,1,0"), reducer=reducer("knockout_rank")), *"11234"
    )
    assert scores.ranking[0] == 4 and scores.values[0] == scores.values[1]
    assert all({"4", "3"} != set(pair) for pair in calls.pairs[:4])


@pytest.mark.parametrize("name", ["reference:5", "knockout:1,0"])
def test_members_that_a_group_does_not_have_are_that_groups_error(name):
    scores = score(tournament(Calls(), schedule=schedule(name)), "1", "2", "3")
    assert scores.values == [None] * 3 and name.split(":")[0] in scores.error


@pytest.mark.parametrize("order", ["1 2 3 4", "4 3 2 1"])
@pytest.mark.parametrize("name", ["swiss:3", "knockout"])
def test_adaptive_schedules_find_the_best(name, order):
    responses = order.split()
    scores = score(tournament(Calls(), schedule=schedule(name), reducer=reducer("bradley_terry")), *responses)
    assert responses[scores.ranking[0]] == "4"


def test_the_same_group_is_drawn_the_same_whoever_plays_it():
    def pairs(seed):
        calls = Calls()
        score(tournament(calls, schedule=schedule("random:2"), orders="random", seed=seed), *"12345678")
        return calls.pairs

    assert pairs(0) == pairs(0)
    assert pairs(0) != pairs(1)


def test_votes_stop_when_the_majority_is_settled():
    calls = Calls()
    scores = score(tournament(calls, votes=5, orders="fixed"), "1", "2")
    assert len(calls.pairs) == 3 and scores.calls == 3
    assert len(scores.judgements) == 1 and len(scores.judgements[0].votes) == 3


def test_votes_go_on_while_it_is_open():
    answers = iter([FIRST, SECOND, FIRST, SECOND, SECOND])
    scores = score(tournament(Calls(lambda *_: next(answers)), votes=5, orders="fixed"), "1", "2")
    assert scores.calls == 5
    assert scores.judgements[0].verdict is Verdict.SECOND


def test_an_even_split_is_a_tie_and_none_is_no_vote():
    answers = iter([FIRST, SECOND, "", ""])
    scores = score(tournament(Calls(lambda *_: next(answers)), votes=4, orders="fixed"), "1", "2")
    assert scores.judgements[0].verdict is Verdict.TIE
    assert scores.failures == {"empty": 2}
    assert scores.values == [0.0, 0.0]


VOTES = st.sampled_from([Verdict.FIRST, Verdict.SECOND, Verdict.TIE, None])


@given(st.lists(VOTES, min_size=1, max_size=9))
def test_the_majority_of_votes(verdicts):
    ballots = [Judgement(verdict=one, reason=None if one else Reason.EMPTY, usage=Usage(calls=1)) for one in verdicts]
    judgement = majority_of(ballots)
    counts = {one: verdicts.count(one) for one in set(verdicts) - {None}}
    leaders = [one for one in counts if counts[one] == max(counts.values())]
    assert judgement.usage.calls == len(verdicts)
    if not counts:
        assert (judgement.verdict, judgement.reason) == (None, Reason.EMPTY)
    else:
        assert judgement.reason is None
        assert judgement.verdict is (leaders[0] if len(leaders) == 1 else Verdict.TIE)


@given(st.lists(VOTES, min_size=9, max_size=9), st.integers(min_value=2, max_value=9))
def test_stopping_early_never_changes_who_wins(verdicts, votes):
    texts = {Verdict.FIRST: FIRST, Verdict.SECOND: SECOND, None: ""}
    said = [texts.get(one, "") for one in verdicts[:votes]]
    answers = iter(said)
    scores = score(tournament(Calls(lambda *_: next(answers)), votes=votes, orders="fixed"), "1", "2")
    wins, losses = said.count(FIRST), said.count(SECOND)
    expected = (
        None
        if wins + losses == 0
        else Verdict.TIE
        if wins == losses
        else Verdict.FIRST
        if wins > losses
        else Verdict.SECOND
    )
    assert scores.judgements[0].verdict is expected


def test_a_response_without_any_verdict_is_unscored_and_the_rest_is_not():
    def reply(first, second):
        if "3" in (first, second):
            raise EngineError("down", Reason.TIMEOUT)
        return FIRST if first > second else SECOND

    scores = score(tournament(Calls(reply)), "1", "2", "3")
    assert scores.values == [-1.0, 1.0, None]
    assert scores.unscored == [2]
    assert scores.failures == {"timeout": 4}
    assert scores.calls == 2


def test_a_group_without_any_verdict_says_so_and_why():
    scores = score(tournament(lambda messages: "I wonder."), "1", "2")
    assert scores.values == [None, None]
    assert "none of 2 judge calls came to a verdict" in scores.error and "no_verdict" in scores.error


def test_one_broken_group_costs_no_other():
    play = tournament(Calls())
    groups = [
        Group(prompt="q", responses=["1", "2"]),
        Group(prompt="q", responses=[1, object()]),
        Group(prompt=None, responses=["1", "2"]),
        Group(prompt="q", responses=["4", "3"]),
    ]
    scores = asyncio.run(play.score(groups))
    assert [one.values for one in scores] == [[-1.0, 1.0], [None, None], [None, None], [1.0, -1.0]]
    assert scores[1].error and scores[2].error


def test_a_setting_that_cannot_work_is_raised_once_and_plainly():
    def reply(messages):
        raise ConfigError("model= is not served")

    with pytest.raises(ConfigError, match="not served"):
        asyncio.run(tournament(reply).score([Group(prompt="q", responses=["1", "2"])] * 3))


def test_64_responses_and_odd_texts_are_scored():
    responses = [str(number) for number in range(62)] + ["", "\x00‮𝕏🙂" * 3]
    longer = Calls(lambda first, second: FIRST if len(first) > len(second) else SECOND)
    scores = score(tournament(longer, schedule=schedule("circulant:3")), *responses)
    assert None not in scores.values
    assert scores.calls == 64 * 3 * 2


def test_a_megabyte_is_shown_whole():
    long = "x" * 2**20
    calls = Calls(lambda first, second: FIRST if len(first) > len(second) else SECOND)
    assert score(tournament(calls), long, "short").values == [1.0, -1.0]
    assert max(len(text) for pair in calls.pairs for text in pair) == 2**20


def test_compare_in_both_orders_turns_the_second_round():
    play = tournament(Calls())
    judgement = asyncio.run(play.compare("q", "2", "1", both_orders=True))
    assert judgement.verdict is Verdict.FIRST and len(judgement.votes) == 2
    biased = tournament(lambda messages: FIRST)
    contradicted = asyncio.run(biased.compare("q", "2", "1", both_orders=True))
    assert contradicted.verdict is Verdict.TIE and contradicted.detail == "the two orders disagree"
    assert asyncio.run(biased.compare("q", "2", "1", both_orders=False)).verdict is Verdict.FIRST


def test_compare_in_both_orders_needs_a_verdict_in_each():
    answers = iter([FIRST, "I wonder."])
    judgement = asyncio.run(tournament(lambda messages: next(answers)).compare("q", "2", "1", both_orders=True))
    assert (judgement.verdict, judgement.reason) == (None, Reason.NO_VERDICT)
    assert len(judgement.votes) == 2


def test_votes_within_both_orders_are_turned_too():
    judgement = asyncio.run(tournament(Calls(), votes=3).compare("q", "1", "2", both_orders=True))
    assert judgement.verdict is Verdict.SECOND
    assert {vote.verdict for one in judgement.votes for vote in one.votes} == {Verdict.SECOND}
