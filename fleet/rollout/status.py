"""Asks every host what it is. Called by `fleet.cli.status`; writes nothing anywhere."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.inventory.model import Host
from fleet.lab.access import LabAccess
from fleet.rollout.outcome import HostStatus
from fleet.rollout.reach import Reached, reach


def statuses(
    hosts: Iterable[Host], access: LabAccess | None, *, forks: int, timeout: float, probe: bool
) -> list[HostStatus]:
    """One status a host, in the order given; `probe` makes agents call idle peers first."""
    chosen = list(hosts)
    with reach(chosen, access, forks=forks, timeout=timeout, probe=probe) as reached:
        return [_status(reached[host.name]) for host in chosen]


def _status(reached: Reached) -> HostStatus:
    facts = reached.facts
    if facts is None:
        return HostStatus(reached.host.name, reached.failure == "failed", None, reached.error)
    error = None if facts.report else facts.agent_error or "no agent on this host yet: run fleet apply"
    return HostStatus(reached.host.name, True, facts.report, error)
