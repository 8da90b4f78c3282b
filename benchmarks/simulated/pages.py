"""The tables of benchmarks/results/reward_per_call.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist

from simulated.cells import ADAPTIVE_REDUCER, AIMS, REDUCERS, SHARE, Cell, Mean, Row
from simulated.fitting import Fit
from simulated.rivals import RIVALS

__all__ = ["bars", "curve", "details", "differences", "fits", "growth", "reducers"]

BARS = (("slope 4", 0.20), ("slope 1.5", 0.45))
"""Share of the calls of the full tournament within which adaptive is to have 95% of its correlation, groups of 16."""
CHANCE = 0.05
"""That noise alone puts adaptive behind in any of the comparisons made, were it never behind."""


def bars(cells: Sequence[Cell]) -> str:
    """What was aimed for, and what came of it."""
    return "\n".join(f"- {line}" for line in (*_shares(cells), *_never_below(cells), *_growths(cells)))


def _shares(cells: Sequence[Cell]) -> Iterable[str]:
    for name, share in BARS:
        for cell in cells:
            if cell.size == 16 and cell.judge.name == name:
                limit = int(share * cell.full.calls)
                yield (
                    f"{name}, n = 16: {SHARE:.0%} of the full tournament's correlation "
                    f"({cell.full.correlation.value:.4f}) within {limit} of {cell.full.calls:.0f} calls. "
                    f"{_met(cell.enough is not None and cell.enough <= limit)}: {_enough(cell)} calls were enough."
                )


def _beyond(cells: Sequence[Cell]) -> float:
    """Standard errors that make a difference more than noise, among all comparisons of one measure (Bonferroni)."""
    return NormalDist().inv_cdf(1.0 - CHANCE / max(1, sum(len(cell.rivals) for cell in cells)))


def _everything(cell: Cell, row: Row) -> bool:
    """Whether all calls there are were made: everybody has the same verdicts then, and only reducers differ."""
    return row.calls >= cell.full.calls


def _never_below(cells: Sequence[Cell]) -> Iterable[str]:
    beyond = _beyond(cells)
    for what, measure in (("correlation_more", "correlation"), ("best_more", "truth of the best")):
        compared = [(cell, row, getattr(row, what)) for cell in cells for row in cell.rivals]
        for everything, where in ((False, "at equal calls"), (True, "at all calls there are, by its reducer alone")):
            those = [one for one in compared if _everything(one[0], one[1]) is everything]
            below = [one for one in those if one[2].z < -beyond]
            listed = "; ".join(
                f"{cell.judge.name}, n = {cell.size}, {row.name} at {row.calls:.0f}: {_signed(more)}"
                for cell, row, more in below
            )
            yield (
                f"{measure} never below another project's way {where}, beyond {beyond:.2f} standard errors. "
                f"{_met(not below)}: below in {len(below)} of {len(those)} comparisons"
                + (f" ({listed})." if below else ".")
            )


def _growths(cells: Sequence[Cell]) -> Iterable[str]:
    for judge in _judges(cells):
        found = {cell.size: cell.enough for cell in cells if cell.judge.name == judge and cell.size >= 8}
        if 64 in found and len(found) > 1:
            last, first = found[64], found[min(found)]
            met = bool(last and first) and _per_log(64, last or 0) <= _per_log(min(found), first or 1)
            yield (
                f"{judge}: calls for {SHARE:.0%} of the full tournament's correlation, which itself grows with n, grow "
                f"as n log n or slower from n = {min(found)} to 64. {_met(met)}."
            )


def growth(cells: Sequence[Cell]) -> str:
    """Calls for 95%, by size."""
    sizes = sorted({cell.size for cell in cells})
    rows = []
    for judge in _judges(cells):
        own = {cell.size: cell for cell in cells if cell.judge.name == judge}
        rows.append([judge, *(_enough_cell(own[size]) if size in own else "" for size in sizes)])
    return (
        "Least calls at which the mean correlation of adaptive is 95% of that of all pairs in both orders; in brackets "
        "their share of all calls, and calls / (n log2 n), which stays the same where the calls grow as n log n.\n\n"
        + _table(["judge", *(f"n = {size}" for size in sizes)], rows)
        + "\nThe full tournament of a larger group is worth more, since each response has more matches in it, and so "
        "the bar above rises with n. Least calls for a correlation that stays the same; in brackets calls / n, which "
        "stays the same where the calls grow as n:\n\n"
        + _table(["judge", "correlation", *(f"n = {size}" for size in sizes)], _reached(cells, sizes))
    )


def _reached(cells: Sequence[Cell], sizes: Sequence[int]) -> Iterable[list[str]]:
    for judge in _judges(cells):
        own = {cell.size: cell for cell in cells if cell.judge.name == judge}
        for aim in AIMS:
            found = [own[size].reached[aim] if size in own else None for size in sizes]
            told = [
                "never" if calls is None else f"{calls} ({calls / size:.1f})"
                for size, calls in zip(sizes, found, strict=True)
            ]
            if any(calls is not None for calls in found):
                yield [judge, f"{aim:g}", *told]


def _enough(cell: Cell) -> str:
    return str(cell.enough) if cell.enough is not None else "more than were played"


def _enough_cell(cell: Cell) -> str:
    if cell.enough is None:
        return _enough(cell)
    return f"{cell.enough} ({cell.enough / cell.full.calls:.0%}, {_per_log(cell.size, cell.enough):.2f})"


def _per_log(size: int, calls: int) -> float:
    return calls / (size * math.log2(size))


def differences(cells: Sequence[Cell]) -> str:
    """Paired differences: adaptive less the other."""
    parts = [
        "Adaptive less the other, on the same groups and verdicts, at equal calls. First the correlation, "
        f"then the truth of the best. **Bold**: adaptive is behind by more than {_beyond(cells):.2f} standard errors, "
        f"which noise alone would do in any of all comparisons with a chance of {CHANCE:.0%}. At all n (n - 1) calls "
        "there is nothing left to choose, and what differs is the reducer. The last lines are this package's other "
        "schedules, reduced by `bradley_terry`.\n"
    ]
    beyond = _beyond(cells)
    for size in sorted({cell.size for cell in cells}):
        own = [cell for cell in cells if cell.size == size]
        rows = []
        for kind in ("rivals", "own"):
            for place, row in enumerate(getattr(own[0], kind)):
                each = [getattr(cell, kind)[place] for cell in own]
                rows.append([row.name, f"{row.calls:.0f}", *(_more(one, beyond) for one in each)])
        header = [f"n = {size}", "calls", *(cell.judge.name for cell in own)]
        parts.append(_table(header, rows))
    return "\n".join(parts)


def _more(row: Row, beyond: float) -> str:
    return "; ".join(
        f"**{_signed(more)}**" if more.z < -beyond else _signed(more) for more in (row.correlation_more, row.best_more)
    )


def curve(cells: Sequence[Cell]) -> str:
    """Adaptive's correlation and best, by calls."""
    parts = ["Correlation, then the truth of the best. The last line is the full tournament.\n"]
    for size in sorted({cell.size for cell in cells}):
        own = [cell for cell in cells if cell.size == size]
        rows = [
            [f"{calls} ({calls / own[0].full.calls:.0%})", *("; ".join(map(_plain, cell.curve[calls])) for cell in own)]
            for calls in own[0].curve
        ]
        rows.append(
            ["full, best reducer", *(f"{_plain(cell.full.correlation)}; {_plain(cell.full.best)}" for cell in own)]
        )
        parts.append(_table([f"n = {size}, calls", *(cell.judge.name for cell in own)], rows))
    return "\n".join(parts)


def reducers(cells: Sequence[Cell]) -> str:
    """What to reduce adaptive by, and in which orders."""
    rows = [
        [cell.judge.name, str(cell.size), *(_plain(cell.reducers[each]) for each in REDUCERS)]
        for cell in cells
        if cell.size in (8, 16)
    ]
    twice = [
        [cell.judge.name, str(cell.size), _plain(cell.both_orders[0]), _signed(cell.both_orders[1])]
        for cell in cells
        if cell.size in (8, 16, 32)
    ]
    cost = [[cell.judge.name, str(cell.size), f"{cell.milliseconds:.1f}"] for cell in cells]
    return (
        "Correlation of adaptive with three calls for each response, by reducer:\n\n"
        + _table(["judge", "n", *(f"`{each}`" for each in REDUCERS)], rows)
        + '\nCorrelation with six calls for each response and `orders="both"`, and how much more `balanced` has '
        f"(`{ADAPTIVE_REDUCER}`):\n\n"
        + _table(["judge", "n", "both", "balanced has more"], twice)
        + "\nProcessor time to choose the matches of a group, three calls for each response:\n\n"
        + _table(["judge", "n", "milliseconds"], cost)
    )


def details(cells: Sequence[Cell]) -> str:
    """Correlation and best of every contestant."""
    about = "".join(f"- {one.name}: {one.about}\n" for one in RIVALS)
    parts = [f"Other projects' ways are rebuilt from their descriptions:\n\n{about}\nCorrelation, then the best:\n"]
    for size in sorted({cell.size for cell in cells}):
        own = [cell for cell in cells if cell.size == size]
        rows = []
        for kind in ("rivals", "own"):
            for place, row in enumerate(getattr(own[0], kind)):
                each = [getattr(cell, kind)[place] for cell in own]
                cells_of_row = (f"{_plain(one.correlation)}; {_plain(one.best)}" for one in each)
                rows.append([row.name, f"{row.calls:.0f}", *cells_of_row])
        parts.append(_table([f"n = {size}", "calls", *(cell.judge.name for cell in own)], rows))
    return "\n".join(parts)


def fits(found: Sequence[Fit]) -> str:
    """What was fitted to what."""
    rows = [
        [
            one.judge.name,
            " / ".join(map(str, one.cells)),
            " / ".join(f"{one.pairs * share:.1f}" for share in one.expected),
            f"{one.agreement:.1%}",
            f"{one.judge.slope:.2f}",
            f"{one.judge.pair_error:.2f}",
            f"{one.judge.bias:.2f}",
        ]
        for one in found
    ]
    header = ["judge", "pairs", "expected", "orders agree", "slope", "error of the pair", "bias"]
    return (
        "Pairs judged right in both orders / only with the better first / only with it second / in neither; fitted by "
        "maximum likelihood. Three values from three free shares: the fit is exact where it is possible, and cannot be "
        "tested by the same table.\n\n" + _table(header, rows)
    )


def _judges(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.judge.name for cell in cells))


def _met(met: bool) -> str:
    return "**Met**" if met else "**Not met**"


def _signed(mean: Mean) -> str:
    return f"{mean.value:+.3f} ± {mean.error:.3f}"


def _plain(mean: Mean) -> str:
    return f"{mean.value:.3f} ({mean.error:.3f})"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [header, ["---"] * len(header), *rows])
