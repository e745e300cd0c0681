"""How `fleet destroy` looks where it differs from apply: the preview and the question.

Called by `fleet.cli.destroy`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleet.rollout.decide import Work
from fleet.rollout.leave import Leaving
from fleet.rollout.outcome import Outcome
from fleet.views import apply
from fleet.views.console import number_of_hosts


def preview(name: str, leaving: Sequence[Leaving], outcomes: Sequence[Outcome], notes: Iterable[str]) -> None:
    """What would go, before anybody is asked."""
    works = [Work(one.host, False, not one.nothing, one.changes) for one in leaving]
    every = [*(f"{one.host}: {note}" for one in leaving for note in one.notes), *notes]
    apply.preview(name, works, outcomes, every)


def question(count: int) -> str:
    """What the operator is asked."""
    return f"Take the fleet off {number_of_hosts(count)}?"
