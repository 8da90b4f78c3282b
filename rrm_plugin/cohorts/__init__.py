"""The gate: hosts that hand out one response at a time on one side, whole groups on the other.

OpenRLHF and verl ask for the reward of a single response; a pairwise judge needs its siblings. Each caller brings a
`Member` under its group's key and waits; the group is judged once, when all are there or the deadline has passed, and
each caller gets the `Outcome` of its own member.

    outcome = await gate.join(uid, Member(prompt=prompt, response=response, id=session), size=8)
    outcome.reward        None where the member is unscored
    outcome.number        the reward, or what a host that needs a number should be given instead

Every group has one task that owns it, all of them on the judge's event loop, so that no two callers ever change a
group at the same time; `join` may be called from any loop and any thread. A key names one group, once: what comes late
to a closed group is unscored, and a repeated member is answered and not counted again. Members without an `id` cannot
be told from each other, so a full group under the same key begins the next one.
"""

from __future__ import annotations

from rrm_plugin.cohorts._gate import Gate
from rrm_plugin.cohorts._members import Closing, Member, Outcome

__all__ = ["Closing", "Gate", "Member", "Outcome"]
