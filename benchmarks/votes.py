"""How many of k votes on a match have to be cast until their majority is certain.

Each vote names the better response with the same chance, independently of the others. The package's own code is given
every sequence of k such votes that there is, so the figures are exact for this model, not estimates; for each sequence
it is checked that the majority is that of all k votes. No real judge is asked: the votes of one that errs in the same
way whenever it sees a pair agree more often, and end sooner.

    python benchmarks/votes.py [--write]

`--write` puts the tables into benchmarks/results/votes.md.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrm_plugin.looks import Looks, majority_of
from rrm_plugin.prompts import Guarded
from rrm_plugin.types import Judgement, Match, Verdict

RESULTS = Path(__file__).parent / "results" / "votes.md"
VOTES = (3, 5, 9, 15)
ACCURACIES = (0.6, 0.7, 0.8, 0.9, 0.95)
TOLD, AT = 9, 0.8
BAR = 0.65
CHANCES = (0.01, 0.05, 0.1)
"""That the votes left out would have changed the majority: rules that take a risk, for comparison."""

Sequence = tuple[bool, ...]


@dataclass
class Ballots:
    """A judge whose votes are given, and who counts the waves in which it is asked."""

    right: Sequence
    waves: int = 0
    _under_way: int = 0

    async def judge(self, query: object, first: object, second: object, match: Match | None, vote: int) -> Judgement:
        """The vote of that number."""
        self.waves += self._under_way == 0
        self._under_way += 1
        await asyncio.sleep(0)
        self._under_way -= 1
        return self.vote(vote)

    def vote(self, number: int) -> Judgement:
        """The same, at once."""
        return Judgement(verdict=Verdict.FIRST if self.right[number] else Verdict.SECOND)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one sequence of votes."""

    right: int
    """Votes of all k that name the better."""
    calls: int
    waves: int
    one_by_one: int
    """Votes after which the rest cannot change the majority, where they are cast singly."""


async def _cast(sequence: Sequence) -> Cost:
    ballots = Ballots(right=sequence)
    judge: Any = ballots
    text = Guarded("")
    found = await Looks(judge=judge, votes=len(sequence)).first_look(text, text, text, Match(first=0, second=1))
    if found.verdict is not majority_of([ballots.vote(number) for number in range(len(sequence))]).verdict:
        raise AssertionError(f"votes {sequence} ended early with another majority")
    return Cost(right=sum(sequence), calls=len(found.votes), waves=ballots.waves, one_by_one=_settled(sequence))


def _settled(sequence: Sequence) -> int:
    for cast in range(1, len(sequence) + 1):
        if abs(2 * sum(sequence[:cast]) - cast) > len(sequence) - cast:
            return cast
    return len(sequence)


async def costs(votes: int) -> list[Cost]:
    """Of every sequence there is."""
    return [await _cast(sequence) for sequence in itertools.product((True, False), repeat=votes)]


def mean(found: list[Cost], votes: int, accuracy: float, what: str) -> float:
    """Expected value of one column."""
    return sum(accuracy**one.right * (1 - accuracy) ** (votes - one.right) * getattr(one, what) for one in found)


def least(votes: int, accuracy: float) -> float:
    """Expected votes until one side has a majority of all, for odd numbers of votes: no sure rule can take fewer.

    The last one is vote t and gives the winner its m-th, m being (votes + 1) / 2: that has the chance
    C(t - 1, m - 1) (p^m q^(t - m) + q^m p^(t - m)), p being the accuracy and q what is left.
    """
    most, other = votes // 2 + 1, 1.0 - accuracy
    return sum(
        cast
        * math.comb(cast - 1, most - 1)
        * (accuracy**most * other ** (cast - most) + other**most * accuracy ** (cast - most))
        for cast in range(most, votes + 1)
    )


def enough(votes: int, share: float) -> float:
    """Least accuracy, in hundredths, at which a sure rule takes at most that share of the votes."""
    return next(each / 100 for each in range(50, 101) if least(votes, each / 100) <= share * votes)


def change(right: int, cast: int, votes: int) -> float:
    """Chance that the votes left out would change the majority, all accuracies being equally likely beforehand."""
    ahead, rest = max(right, cast - right), votes - cast
    behind = cast - ahead
    # Votes still to come for the leader follow the beta-binomial distribution.
    return sum(
        math.comb(rest, more)
        * math.exp(_log_beta(ahead + 1 + more, behind + 1 + rest - more) - _log_beta(ahead + 1, behind + 1))
        for more in range(rest + 1)
        if 2 * (ahead + more) < votes
    )


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def risked(votes: int, accuracy: float, chance: float) -> tuple[float, float]:
    """Expected calls, and share of matches whose majority is another, if voting ends below that chance of it."""
    calls = changed = 0.0
    waiting = {0: 1.0}
    for cast in range(1, votes + 1):
        reached: dict[int, float] = {}
        for right, weight in waiting.items():
            for more, part in ((1, accuracy), (0, 1 - accuracy)):
                reached[right + more] = reached.get(right + more, 0.0) + weight * part
        ended = {right for right in reached if change(right, cast, votes) <= chance}
        calls += cast * sum(reached[right] for right in ended)
        changed += sum(reached[right] * _turned(right, cast, votes, accuracy) for right in ended)
        waiting = {right: weight for right, weight in reached.items() if right not in ended}
    return calls, changed


def _turned(right: int, cast: int, votes: int, accuracy: float) -> float:
    """Chance that the rest of the votes would have made another majority."""
    rest = votes - cast
    chances = [math.comb(rest, more) * accuracy**more * (1 - accuracy) ** (rest - more) for more in range(rest + 1)]
    to_better = sum(chance for more, chance in enumerate(chances) if 2 * (right + more) > votes)
    return 1.0 - to_better if 2 * right > cast else to_better


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [header, ["---"] * len(header), *rows])


def exact(found: dict[int, list[Cost]]) -> str:
    """Calls and waits of the package's rule."""
    rows = []
    for votes, sequences in found.items():
        for accuracy in ACCURACIES:
            calls, waves, single = (mean(sequences, votes, accuracy, each) for each in ("calls", "waves", "one_by_one"))
            cells = [f"{calls:.2f}", f"{calls / votes:.1%}", f"{waves:.2f}", f"{single:.2f}"]
            rows.append([str(votes), f"{accuracy:g}", *cells])
    header = ["votes", "accuracy of one", "calls", "of all", "waits", "calls, one vote at a time"]
    return _table(header, rows)


def risky() -> str:
    """What rules that take a risk would save, and change."""
    rows = []
    for votes in VOTES:
        for chance in CHANCES:
            calls, changed = risked(votes, AT, chance)
            rows.append([str(votes), f"{chance:g}", f"{calls:.2f}", f"{calls / votes:.1%}", f"{changed:.2%}"])
    return _table(["votes", "risk allowed", "calls", "of all", "another majority"], rows)


def report() -> str:
    """Both tables and what they say, as Markdown."""
    found = {votes: asyncio.run(costs(votes)) for votes in VOTES}
    share = mean(found[TOLD], TOLD, AT, "calls") / TOLD
    if any(not math.isclose(least(k, p), mean(found[k], k, p, "calls")) for k in VOTES for p in ACCURACIES):
        raise AssertionError("the rule takes more than the least")
    worse = sum(one.calls > one.one_by_one for sequences in found.values() for one in sequences)
    return (
        f"All {sum(map(len, found.values())):,} sequences of votes were played; the majority was that of all votes in "
        "each.\n\n"
        f"**{TOLD} votes of {AT:.0%} accuracy: {share:.1%} of the calls.** At most {BAR:.0%} were aimed for: "
        f"{'met' if share <= BAR else 'not met'}. The majority of {TOLD} is open until one side has {TOLD // 2 + 1} "
        "votes, and so no rule that is sure of it can take fewer calls than the last column, in which votes are cast "
        f"one at a time. Casting them in waves took more than that in {worse} sequences: a wave holds the fewest votes "
        "that could settle the match, so none of them is in vain.\n\n"
        "The least that can be expected, with p the accuracy of one vote, q = 1 - p, k the votes and m = (k + 1) / 2 "
        "those that settle it: the sum over t from m to k of t C(t-1, m-1) (p^m q^(t-m) + q^m p^(t-m)). For k of "
        f"{TOLD} and p of {AT:g} that is {least(TOLD, AT):.2f} votes; {BAR:.0%} of {TOLD} would need an accuracy of "
        f"{enough(TOLD, BAR):.0%}. With more votes the share falls towards 1 / 2p, which is {0.5 / AT:.1%}: it is "
        f"{least(25, AT) / 25:.1%} of 25. The rule takes exactly the least in every line of the table.\n\n"
        f"{exact(found)}\n"
        "## Taking a risk\n\n"
        "What ending earlier would save and change, one vote at a time: as soon as the chance that the rest would "
        "change the majority is no more than the risk allowed, all accuracies being equally likely beforehand. "
        f"Votes of {AT:.0%} accuracy. The package has no such rule.\n\n{risky()}"
    )


def main() -> None:
    """Counts, prints, and writes where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    text = report()
    print(text)
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(
            "# What voting costs\n\nWritten by `python benchmarks/votes.py --write`; the script says what is modelled."
            f"\n\n{text}",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
