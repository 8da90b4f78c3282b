"""A line per response, for a trainer's table of completions: how it fared, and what the judge said."""

from __future__ import annotations

from collections.abc import Sequence

from rrm_plugin.types import Judgement, Scores, Verdict

__all__ = ["notes_of"]


def notes_of(scores: Scores, excerpt: int = 2000) -> list[str]:
    """For each response: won, lost, tied and undecided matches, and the end of what the judge said in the first decided
    one.
    """
    notes = []
    for index in range(len(scores.values)):
        own = [one for one in scores.judgements if one.match and index in (one.match.first, one.match.second)]
        if not own:
            notes.append(scores.error or "not judged: the same as an earlier response")
            continue
        told = next((one for one in own if one.verdict is not None), own[0])
        notes.append(f"{_record(index, own)}; {told.engine}: {told.text[-excerpt:] or told.detail}")
    return notes


def _record(index: int, own: Sequence[Judgement]) -> str:
    won = lost = tied = undecided = 0
    for judgement in own:
        assert judgement.match is not None
        if judgement.verdict is None:
            undecided += 1
        elif judgement.verdict is Verdict.TIE:
            tied += 1
        elif (judgement.verdict is Verdict.FIRST) == (judgement.match.first == index):
            won += 1
        else:
            lost += 1
    return f"won {won}, lost {lost}, tied {tied}, no verdict {undecided}"
