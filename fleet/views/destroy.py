"""How `fleet destroy` looks where it differs from apply: the preview and the question.

Called by `fleet.cli.destroy`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.prompt import Confirm

from fleet.rollout.decide import Work
from fleet.rollout.leave import Leaving
from fleet.rollout.outcome import Outcome
from fleet.views import apply
from fleet.views.console import out


def preview(name: str, leaving: Sequence[Leaving], outcomes: Sequence[Outcome], notes: Iterable[str]) -> None:
    """What would go, before anybody is asked."""
    works = [Work(one.host, False, not one.nothing, one.changes) for one in leaving]
    every = [*(f"{one.host}: {note}" for one in leaving for note in one.notes), *notes]
    apply.preview(name, works, outcomes, every)


def ask(count: int) -> bool:
    """Whether the operator wants it; on a terminal alone."""
    hosts = f"{count} host{'s' if count > 1 else ''}"
    return Confirm.ask(f"Take the fleet off {hosts}?", console=out(), default=False)
