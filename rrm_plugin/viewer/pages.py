"""The pages: what each shows, and its HTML.

Which address a link has is the business of `Links`, so that the same templates make the pages of a server and the
sections of an exported file. Left out: HTTP (`app.py`), and how numbers are written (`templating.py`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rrm_plugin.errors import LedgerError
from rrm_plugin.metrics.alarms import standing_after
from rrm_plugin.metrics.steering import signs
from rrm_plugin.prompts import prompt_text
from rrm_plugin.prompts.guards import clean
from rrm_plugin.verdicts import split_thinking
from rrm_plugin.viewer.differences import compare
from rrm_plugin.viewer.links import ALL, Links
from rrm_plugin.viewer.played import Tournament, label
from rrm_plugin.viewer.reading import SHOWN, Call, LedgerReader, Listing, StoredGroup, StoredMatch
from rrm_plugin.viewer.searching import PLACES, search
from rrm_plugin.viewer.summary import METRICS, Point, Summary
from rrm_plugin.viewer.templating import environment

__all__ = ["PAGE", "Pages", "standing_alarms"]

PAGE = 50
"""Groups of a page."""
STEPS = 12
"""Steps of the table under the curves."""

_TOLD = {
    "disagreements": ("Orders disagree", "The two orders of a pair name different winners."),
    "upsets": ("Upsets", "A response with a low score beat one with a high score."),
    "cycles": ("Cycles", "Three responses beat each other in a circle."),
    "failures": ("No verdict", "Judge calls that ended without a verdict."),
    "unscored": ("Unscored", "Responses without a score: no valid verdict was about them."),
    "steering": (
        "Speaks to the judge",
        "Responses with a verdict, instructions to the judge or a claim to win.",
    ),
}


Warnings = Callable[[Sequence[Mapping[str, float]]], Sequence[Sequence[str]]]
"""From the metrics of each step, by the names of a trainer's log, to the warnings that stand after it."""


def standing_alarms(steps: Sequence[Mapping[str, float]]) -> Sequence[Sequence[str]]:
    """The alarms of a run with their default limits, as its log words them; those that need texts are left out."""
    return [[str(alarm) for alarm in standing] for standing in standing_after(steps)]


class Pages:
    """HTML of a ledger's pages.

    Args:
        reader, summary: of the ledger.
        links: addresses of the pages.
        warnings: from the metrics of each step of a training run to what is wrong after it; None for the alarms.
    """

    def __init__(self, reader: LedgerReader, summary: Summary, links: Links, warnings: Warnings | None = None) -> None:
        self.reader, self.summary, self.links = reader, summary, links
        self.warnings = warnings or standing_alarms

    def overview(self) -> dict[str, Any]:
        """What the overview shows."""
        self.summary.refresh()
        points = self.summary.points()
        warned = self._warned(points)
        newest = self.reader.groups(Listing(), 8)
        return {
            **self._common("Overview"),
            "whole": self.summary.whole(),
            "curves": self._curves(points),
            "metrics": METRICS,
            "points": list(zip(points, warned, strict=True))[::-1][:STEPS],
            "warnings": warned[-1] if warned else (),
            "all_points": len(points),
            "stepped": self.summary.stepped,
            "without_step": self.summary.without_step(),
            "newest": newest,
            "settings": self._settings(newest[0].id) if newest else {},
            "unreadable": self.reader.unreadable(),
            "worth": self._worth(),
            "last_write": self.reader.last_write(),
        }

    def groups(self, listing: Listing, page: int = 1) -> dict[str, Any]:
        """What a list of groups shows.

        Args:
            listing: which.
            page: from 1; one beyond the last is the last.
        """
        self.summary.refresh()
        count = self.reader.count(listing)
        pages = max(1, math.ceil(count / PAGE))
        page = min(max(1, page), pages)
        before, after = self.summary.neighbours(listing.step) if listing.step is not None else (None, None)
        title = _TOLD[listing.shown][0] if listing.shown else "Groups"
        return {
            **self._common(title if listing.step is None else f"{title}, step {listing.step}"),
            "listing": listing,
            "tabs": [(key, *_TOLD.get(key, ("All", "All groups, newest first."))) for key in ("", *SHOWN)],
            "rows": self.reader.groups(listing, PAGE, (page - 1) * PAGE),
            "count": count,
            "page": page,
            "pages": pages,
            "point": None if listing.step is None else self.summary.step(listing.step),
            "metrics": METRICS,
            "step_before": before,
            "step_after": after,
        }

    def group(self, id: int, listing: Listing = ALL) -> dict[str, Any] | None:
        """What a group's page shows; None where there is no such group."""
        group = self.reader.group(id)
        if group is None:
            return None
        played = Tournament(group)
        before, after = self.reader.neighbours(id, listing)
        prompt = _prompt(group.prompt)
        rows = self.reader.rows([id])
        return {
            **self._common(group.name or f"Group {id}"),
            "group": group,
            "row": rows[0] if rows else None,
            "played": played,
            "listing": listing,
            "prompt": prompt,
            "prompt_signs": signs(prompt),
            "reference": None if group.reference is None else _prompt(group.reference),
            "before": before,
            "after": after,
            "name": functools.partial(label, size=played.size),
        }

    def match(self, id: int, number: int, listing: Listing = ALL) -> dict[str, Any] | None:
        """What a match's page shows; None where there is no such match."""
        group = self.reader.group(id)
        if group is None or not 1 <= number <= len(group.matches):
            return None
        played, match = Tournament(group), group.matches[number - 1]
        first, second = (self._shown(group, played, index) for index in (match.first, match.second))
        difference = compare(clean(first), clean(second))
        others = played.others(match)
        return {
            **self._common(f"Match {number} of {group.name or f'group {id}'}"),
            "group": group,
            "match": match,
            "played": played,
            "listing": listing,
            "prompt": _prompt(group.prompt),
            "sides": _sides(played, match, (first, second), (difference.first, difference.second)),
            "difference": difference,
            "others": others,
            "contradicted": played.contradicted(match.pair),
            "calls": self._calls(match),
            "name": functools.partial(label, size=played.size),
        }

    def search(self, text: str, place: str = "all", before: int | None = None) -> dict[str, Any]:
        """What a search found so far."""
        place = place if place in PLACES else "all"
        found = search(self.reader, text, place, before)
        rows = {row.id: row for row in self.reader.rows(sorted({hit.group for hit in found.hits}))}
        hits: dict[int, list[Any]] = {}
        for hit in found.hits:
            hits.setdefault(hit.group, []).append(hit)
        return {
            **self._common(f"Search: {text}" if text else "Search"),
            "text": text,
            "place": place,
            "places": PLACES,
            "found": found,
            "hits": [(rows.get(id), own) for id, own in hits.items() if id in rows],
            "begun": before is not None,
        }

    def render(self, template: str, shown: Mapping[str, Any]) -> str:
        """HTML of a page."""
        return environment().get_template(template).render(shown)

    def _common(self, title: str) -> dict[str, Any]:
        groups, calls = self.reader.sizes()
        return {
            "title": title,
            "links": self.links,
            "ledger": self.reader.path.name,
            "sizes": (groups, calls),
            "Listing": Listing,
        }

    def _warned(self, points: Sequence[Point]) -> list[Sequence[str]]:
        """What is wrong after each point."""
        if not self.summary.stepped:
            return [() for _ in points]
        return list(self.warnings([point.metrics() for point in points]))

    def _settings(self, id: int) -> dict[str, Any]:
        """Of a group; none where it cannot be read, which its own page tells."""
        try:
            group = self.reader.group(id)
        except LedgerError:
            return {}
        return group.settings if group else {}

    def _worth(self) -> list[dict[str, Any]]:
        """For each of what makes a group worth a look: how many, and the one with most of it."""
        told = []
        for shown, (title, meaning) in _TOLD.items():
            listing = Listing(shown=shown)
            best = self.reader.groups(listing, 1)
            count = self.reader.count(listing) if best else 0
            told.append({"listing": listing, "title": title, "meaning": meaning, "count": count, "best": best})
        return told

    def _curves(self, points: Sequence[Point]) -> dict[str, Any]:
        """The curves as plain values, for the script that draws them."""
        stepped = self.summary.stepped
        return {
            "x": [point.place if stepped else point.last_id for point in points],
            "axis": "step" if stepped else "group",
            "links": [
                self.links.groups(Listing(step=point.place)) if stepped else self.links.group(point.last_id)
                for point in points
            ],
            "metrics": [
                {
                    "name": metric.name,
                    "title": metric.title,
                    "share": metric.share,
                    "values": [_short(point.mean(metric.name)) for point in points],
                }
                for metric in METRICS
            ],
        }

    def _shown(self, group: StoredGroup, played: Tournament, index: int) -> str:
        return played.texts[index] if index < played.size else _prompt(group.reference)

    def _calls(self, match: StoredMatch) -> list[tuple[Call | None, Any]]:
        calls = self.reader.calls(match.keys)
        return [(call, None if call is None else split_thinking(call.text)) for call in calls]


def _sides(
    played: Tournament, match: StoredMatch, texts: tuple[str, str], pieces: tuple[Any, Any]
) -> list[dict[str, Any]]:
    scores = {standing.index: standing for standing in played.standings}
    return [
        {
            "index": index,
            "label": label(index, played.size),
            "place": place,
            "standing": scores.get(index),
            "text": text,
            "thinking": played.thinking(index),
            "pieces": marked,
            "signs": signs(text),
            "won": match.winner == index,
        }
        for place, index, text, marked in zip(
            ("first", "second"), (match.first, match.second), texts, pieces, strict=True
        )
    ]


def _prompt(prompt: Any) -> str:
    """A page must open whatever was recorded."""
    try:
        return prompt_text(prompt, keep_thinking=True)
    except Exception:
        return str(prompt)


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")
