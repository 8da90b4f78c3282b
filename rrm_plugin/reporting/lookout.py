"""One lookout for a run: makes the metrics of what was judged, raises alarms in the log, and stops what can be stopped.

Whoever judges tells it: a trainer's reward each batch, a gate each group, `rrm rank` and a service likewise. Left out:
when something is an alarm (`metrics/alarms.py`), and how a host is ended by an error, which is the host's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from rrm_plugin import metrics
from rrm_plugin.errors import AlarmError
from rrm_plugin.metrics.alarms import Alarms, Watch
from rrm_plugin.metrics.openings import Openings, Signs
from rrm_plugin.types import Scores

__all__ = ["Lookout"]

logger = logging.getLogger(__name__)


class Lookout:
    """Metrics and alarms of one run of one judge; for one thread at a time.

    Args:
        alarms: the limits, and what an alarm does.
        name: of the judge.
    """

    def __init__(self, alarms: Alarms, name: str) -> None:
        self.alarms = alarms
        self._name = name
        self._watch = Watch(alarms, name)
        self._openings = Openings()

    def metrics(
        self,
        scores: Sequence[Scores],
        lengths: Sequence[Sequence[int]],
        signs: Sequence[Signs],
        *,
        watched: bool = True,
        speaks: bool = True,
    ) -> dict[str, float]:
        """The metrics of a batch of groups, by their full names, `NAME/alarms` among them; a new alarm is logged.

        Args:
            scores, lengths, signs: of each group.
            watched: False where the batch is none of the training's, an evaluation's say: it raises no alarm.
            speaks: False where another rank sees the same and logs it.
        """
        found = metrics.summary(scores, lengths, self._name)
        if self.alarms.action == "off":
            return found
        if watched:
            texts = self._openings.add(signs, [one.values for one in scores])
            found |= {f"{self._name}/{metric}": value for metric, value in texts.items()}
            raised = self._watch.observe(found, self._openings.quotes)
            if speaks:
                for alarm in raised:
                    logger.warning("%s: alarm %s: %s", self._name, alarm.kind, alarm)
                for kind in self._watch.recovered:
                    logger.warning("%s: alarm %s is over", self._name, kind)
        return found | {f"{self._name}/alarms": float(len(self._watch.standing))}

    def stop_if_alarmed(self) -> None:
        """Does nothing unless an alarm stands and `action` is `stop`.

        Raises:
            AlarmError: names the alarms, and what to do about each.
        """
        standing = self._watch.standing.values()
        if self.alarms.action == "stop" and standing:
            told = "; ".join(str(alarm) for alarm in standing)
            raise AlarmError(f'{self._name}: the run was stopped, as alarms="stop" asks for. {told}')
