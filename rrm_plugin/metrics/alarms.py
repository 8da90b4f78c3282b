"""Alarms: what in the metrics of a run says that its judge, or the policy under it, has gone wrong.

    verdict_rate         too few calls end in a verdict
    unscored             too many responses have no score
    order_agreement      the two orders of a pair disagree as they would by chance
    first_rate           the response in one position wins
    length_correlation   scores follow length
    spread               scores no longer differ
    opening              one way to begin a response takes over, and wins
    steering             responses speak to the judge, and do not lose by it

A `Watch` is told the metrics of one step after the other, by the names of `names.py`, and nothing else: those of
a trainer's log or of a ledger, as they are written or years later. One step of a few groups says little, so the mean of
a window of steps is compared with the limit, and has to lie beyond it by twice its standard error. An alarm is raised
once, stands until the mean is back, and can then be raised again. Left out: logging, and stopping anything.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

from rrm_plugin.errors import ConfigError
from rrm_plugin.metrics.openings import GROUPS

__all__ = ["ADVICE", "Alarm", "Alarms", "Watch", "alarms", "standing_after"]

Action = Literal["warn", "stop", "off"]

_ERRORS = 2.0
"""Standard errors by which a mean has to lie beyond its limit."""
_COLLAPSED = 1e-9
_OF_TEXTS = ("opening", "steering")
"""Metrics that come with so many groups at least, and not with every step."""

ADVICE = {
    "verdict_rate": "see {name}/no_verdict/<reason>: cut_off asks for more max_tokens, of the engine for its "
    "server's log",
    "unscored": "such rows teach nothing; see the warnings of unscored responses for the reasons",
    "order_agreement": "a coin gets 0.5: the judge cannot tell these responses apart, so take a stronger judge, more "
    "votes, or prompts on which responses differ",
    "first_rate": "the judge goes by position: take orders='both' or 'balanced', and another prompt or judge",
    "length_correlation": "read some long winners; shaping='length_adjusted:0.5' takes length out of the reward",
    "spread": "see {name}/identical: a policy that answers with one text teaches itself nothing; raise its "
    "temperature, or stop here",
    "opening": "read responses that begin like this: if they are no better than others, the judge is being played, and "
    "training longer makes it worse",
    "steering": "read these responses: the guards take markup away, but not persuasion; stop, and take another judge "
    "or prompt",
}
"""What to do about each kind; `{name}` stands for the name of the judge, before the metrics to look at."""


@dataclass(frozen=True, kw_only=True)
class Alarms:
    """Limits of the alarms; None for a limit raises none of that kind.

    Args:
        action: `warn` writes into the log; `stop` ends the run as well, where its host can be ended; `off` watches
            nothing, and False is the same, which is how YAML reads off.
        verdict_rate: least share of the judge's calls that end in a verdict.
        unscored: largest share of the responses without a score.
        order_agreement: least share of the pairs on which both orders agree.
        first_rate: farthest from 0.5 that the share of matches won by the first shown may be.
        length_correlation: largest correlation of score with length.
        spread: least spread of the scores, as a share of the largest it has been in this run; none at all is always
            an alarm.
        opening: largest growth of the commonest opening's share of the responses, where it wins.
        steering: largest share of responses that speak to the judge, unless they lose.
        steps: least number of steps in a window.
        groups: least number of groups in a window.

    Raises:
        ConfigError: a limit cannot be one.
    """

    action: Action = "warn"
    verdict_rate: float | None = 0.8
    unscored: float | None = 0.1
    order_agreement: float | None = 0.55
    first_rate: float | None = 0.25
    length_correlation: float | None = 0.6
    spread: float | None = 0.2
    opening: float | None = 0.3
    steering: float | None = 0.05
    steps: int = 8
    groups: int = 64

    def __post_init__(self) -> None:
        if self.action is False:
            object.__setattr__(self, "action", "off")
        if self.action not in ("warn", "stop", "off"):
            raise ConfigError(f"alarms must be warn, stop or off, not {self.action!r}")
        for name in ADVICE:
            limit = getattr(self, name)
            number = isinstance(limit, int | float) and not isinstance(limit, bool)
            if limit is not None and not (number and 0 <= limit <= 1):
                raise ConfigError(f"alarms: {name} must be a number from 0 to 1, or None for none, not {limit!r}")
        for name in ("steps", "groups"):
            least = getattr(self, name)
            if not isinstance(least, int) or isinstance(least, bool) or least < 2:
                raise ConfigError(f"alarms: {name} must be a whole number of at least 2, not {least!r}")


def alarms(setting: str | bool | Mapping[str, Any] | Alarms) -> Alarms:
    """Alarms as a setting names them: `warn`, `stop`, `off`, or limits by name.

    Raises:
        ConfigError: it does not name any; the message says what can be written.
    """
    if isinstance(setting, Alarms):
        return setting
    if isinstance(setting, Mapping):
        known = [one.name for one in fields(Alarms)]
        unknown = sorted(str(name) for name in setting if name not in known)
        if unknown:
            raise ConfigError(f"alarms has no {unknown[0]!r}; known are {', '.join(known)}")
        return Alarms(**setting)
    if not isinstance(setting, str) and setting is not False:
        raise ConfigError(f"alarms must be warn, stop or off, limits by name, or an Alarms, not {setting!r}")
    return Alarms(action=setting)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A limit that was passed."""

    kind: str
    """What is wrong; a key of `ADVICE`."""
    metric: str
    """Its full name."""
    value: float
    """Mean over the window."""
    limit: float
    groups: int
    """Groups in the window."""
    quote: str = ""
    """What was seen, where the metric is about texts."""

    @property
    def above(self) -> bool:
        """Whether the value lies above the limit, rather than below."""
        return self.value > self.limit

    @property
    def advice(self) -> str:
        """What to do about it, with the metrics to look at by their full names."""
        return ADVICE[self.kind].format(name=self.metric.removesuffix(f"/{self.kind}"))

    def __str__(self) -> str:
        seen = f" ({self.quote!r})" if self.quote else ""
        side = "above" if self.above else "below"
        return (
            f"{self.metric} is {self.value:.3g} over the last {self.groups} groups{seen}, {side} the limit of "
            f"{self.limit:.3g}: {self.advice}"
        )


class _Seen(NamedTuple):
    """Mean of a window, and its standard error."""

    mean: float
    error: float
    groups: int

    def below(self, limit: float) -> bool:
        return self.mean + _ERRORS * self.error < limit

    def above(self, limit: float) -> bool:
        return self.mean - _ERRORS * self.error > limit


@dataclass
class _Window:
    """The last values of one metric, and how many groups each is the mean of."""

    steps: int
    groups: int
    values: deque[tuple[float, float]] = field(default_factory=deque)
    held: float = 0.0

    def add(self, value: float, groups: float) -> None:
        self.values.append((value, groups))
        self.held += groups
        while len(self.values) > self.steps and self.held - self.values[0][1] >= self.groups:
            self.held -= self.values.popleft()[1]

    def seen(self) -> _Seen | None:
        """None while there is too little."""
        if len(self.values) < self.steps or self.held < self.groups:
            return None
        mean = sum(value * weight for value, weight in self.values) / self.held
        count = len(self.values)
        squares = sum((weight * (value - mean)) ** 2 for value, weight in self.values)
        return _Seen(mean, math.sqrt(squares * count / (count - 1)) / self.held, round(self.held))


class Watch:
    """Watches the metrics of one run.

    Args:
        alarms: the limits.
        name: of the judge, before each metric's own.
    """

    def __init__(self, alarms: Alarms | None = None, name: str = "rrm") -> None:
        self.alarms = alarms or Alarms()
        self.name = name
        self.standing: dict[str, Alarm] = {}
        """Alarms that were raised and have not recovered, by kind, as they are now."""
        self.recovered: tuple[str, ...] = ()
        """Kinds that recovered in the last step."""
        self._windows: dict[str, _Window] = {}
        self._spread = 0.0
        self._opening = math.inf

    def observe(self, metrics: Mapping[str, float], quotes: Mapping[str, str] | None = None) -> list[Alarm]:
        """The alarms that the metrics of one more step raise; empty where none is new.

        Args:
            metrics: by their full names; those that are missing were not measured in this step.
            quotes: by metric without the judge's name, what it was measured on.
        """
        if self.alarms.action == "off":
            return []
        found = {name.removeprefix(f"{self.name}/"): value for name, value in metrics.items()}
        raised = []
        before = set(self.standing)
        for kind in ADVICE:
            gain = found.get(f"{kind}_gain")
            if gain is not None:
                self._window(f"{kind}_gain").add(gain, 1.0)
            limit, value = getattr(self.alarms, kind), found.get(kind)
            if limit is None or value is None or not math.isfinite(value):
                continue
            window, groups = self._window(kind), found.get("groups", 1.0)
            window.add(value, max(groups, GROUPS) if kind in _OF_TEXTS else groups)
            seen = window.seen()
            if seen is not None and self._judge(kind, limit, seen, (quotes or {}).get(kind, "")):
                raised.append(self.standing[kind])
        self.recovered = tuple(sorted(before - set(self.standing)))
        return raised

    def _window(self, metric: str) -> _Window:
        if metric not in self._windows:
            self._windows[metric] = _Window(self.alarms.steps, 0 if metric.endswith("_gain") else self.alarms.groups)
        return self._windows[metric]

    def _judge(self, kind: str, limit: float, seen: _Seen, quote: str) -> bool:
        """Raises, keeps or takes back the alarm of a kind; whether it is new."""
        bound, low = self._bound(kind, limit, seen)
        if low:
            beyond, back = seen.below(bound), seen.mean >= bound
        else:
            beyond, back = seen.above(bound), seen.mean <= bound
        known = kind in self.standing
        if known and back:
            del self.standing[kind]
        elif known or (beyond and self._wins(kind)):
            self.standing[kind] = Alarm(
                kind=kind, metric=f"{self.name}/{kind}", value=seen.mean, limit=bound, groups=seen.groups, quote=quote
            )
        return not known and kind in self.standing

    def _bound(self, kind: str, limit: float, seen: _Seen) -> tuple[float, bool]:
        """The number to compare with, and whether the mean must not be below it."""
        if kind in ("verdict_rate", "order_agreement"):
            return limit, True
        if kind == "first_rate":
            return (0.5 + limit, False) if seen.mean >= 0.5 else (0.5 - limit, True)
        if kind == "spread":
            self._spread = max(self._spread, seen.mean)
            return max(_COLLAPSED, limit * self._spread), True
        if kind == "opening":
            self._opening = min(self._opening, seen.mean)
            return self._opening + limit, False
        return limit, False

    def _wins(self, kind: str) -> bool:
        """Whether a way of writing is paid: an opening has to win, and steering must only not lose."""
        if kind not in _OF_TEXTS:
            return True
        window = self._windows.get(f"{kind}_gain")
        if window is None or not window.values:
            return kind == "steering"
        mean = sum(value for value, _ in window.values) / len(window.values)
        return mean > 0.05 if kind == "opening" else mean > -0.05


def standing_after(
    steps: Iterable[Mapping[str, float]], limits: Alarms | None = None, name: str = "rrm"
) -> list[tuple[Alarm, ...]]:
    """The alarms that stand after each step of a series, for whoever reads a run.

    Args:
        steps: the metrics of each step, by their full names.
        limits: as in the run; None takes the defaults.
        name: of the judge.
    """
    watch = Watch(limits, name)
    standing = []
    for metrics in steps:
        watch.observe(metrics)
        standing.append(tuple(watch.standing.values()))
    return standing
