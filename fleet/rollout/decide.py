"""What one host needs, decided from its facts alone. Pure.

Called by `fleet.rollout.job`.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.bundle import Bundle
from agent.converge import converge
from agent.report import Action, Change, Observed, Report


@dataclass(frozen=True)
class Work:
    """`install` the agent's release, `deliver` the bundle; `changes` says what that would do, in order.

    Where no agent answers the host is not `known`: `changes` take it from nothing to its bundle.
    """

    host: str
    install: bool
    deliver: bool
    changes: tuple[Change, ...]
    known: bool = True

    @property
    def nothing(self) -> bool:
        """Whether the host is as it should be."""
        return not self.install and not self.deliver


def lacks_release(report: Report | None, release: str, installed: str | None) -> bool:
    """Whether `release` has to be installed, as where the agent that runs is older than what is there."""
    return report is None or installed != release or report.release != release


def decide(
    bundle: Bundle, previous: Bundle | None, report: Report | None, release: str, installed: str | None
) -> Work:
    """What takes a host from its `report` (None: no agent answers) to `bundle` and `release` (digests).

    `previous` is the bundle that was last meant for the host: it tells an endpoint that we changed from
    one that roamed.
    """
    install = lacks_release(report, release, installed)
    changes: list[Change] = []
    if install:
        action: Action = "change" if installed else "add"
        changes.append(Change("runtime", "agent", action, release[:12], installed and installed[:12]))
    if report is None:
        steps = converge(bundle, Observed(), None)
        return Work(bundle.host, install, True, (*changes, *(step.change for step in steps)), known=False)
    same = report.digest == bundle.digest()
    steps = converge(bundle, report.observed, bundle if same else previous)
    deliver = (
        not same
        or report.revision != bundle.revision
        or not bundle.secret_refs() <= set(report.secrets)
        or bool(steps)
    )
    if report.fleet not in (None, bundle.fleet):
        changes.append(Change("bundle", "fleet", "change", bundle.fleet, report.fleet))
    if report.revision != bundle.revision:
        action = "add" if report.revision is None else "change"
        changes.append(Change("bundle", "revision", action, bundle.revision, report.revision))
    return Work(bundle.host, install, deliver, (*changes, *(step.change for step in steps)))
