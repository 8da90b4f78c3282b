"""A judged pair stands in the ledger as a group of two, once."""

from __future__ import annotations

import json
import sqlite3

import pytest

from rrm_plugin import RRMJudge
from rrm_plugin.evaluation.judging import Judging, judge_pairs
from rrm_plugin.evaluation.scores import LabelledPair
from rrm_plugin.types import Verdict


@pytest.mark.parametrize("votes", [1, 3])
def test_pairs_are_recorded_with_label_and_scores_and_not_again(tmp_path, votes):
    pair = LabelledPair(id="7", subset="easy", prompt="Why?", first="no", second="because", label=Verdict.SECOND)
    path = tmp_path / "eval.db"
    for _ in range(2):
        with RRMJudge(engine="scripted:longer", ledger=path) as judge:
            judge_pairs([pair], Judging(judge=judge.tournament.judge, votes=votes))
    connection = sqlite3.connect(path)
    [(name, scores, matches, settings)] = connection.execute("SELECT name, scores, matches, settings FROM groups")
    [(ballots, agreement, calls)] = connection.execute("SELECT ballots, agreement, calls FROM group_numbers")
    connection.close()
    assert name == "easy/7" and json.loads(scores) == [-1.0, 1.0]
    told = [(match["first"], match["second"], match["verdict"]) for match in json.loads(matches)]
    assert told == [(0, 1, "second"), (1, 0, "first")]
    assert json.loads(settings)["label"] == "second" and json.loads(settings)["engine"] == "scripted:longer"
    assert (ballots, agreement, calls) == (2 * votes, 1.0, 2 * votes)
