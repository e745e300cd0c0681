"""Asks every host what it is. Called by `fleet.cli.status`; writes nothing anywhere."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.inventory.model import Host
from fleet.lab.access import LabAccess
from fleet.rollout.outcome import HostStatus, backend_of
from fleet.rollout.reach import Reached, reach


def statuses(
    hosts: Iterable[Host], access: LabAccess | None, *, fleet: str, forks: int, timeout: float, probe: bool
) -> list[HostStatus]:
    """One status a host, in the order given, of the fleet with this name.

    `probe` makes agents call idle peers first.
    """
    chosen = list(hosts)
    with reach(chosen, access, fleets=[fleet], forks=forks, timeout=timeout, probe=probe) as reached:
        return [_status(reached[host.name]) for host in chosen]


def _status(reached: Reached) -> HostStatus:
    name, facts = reached.host.name, reached.facts
    if facts is None:
        return HostStatus(name, reached.failure == "failed", None, reached.error)
    if facts.report is None:
        error = facts.agent_error or "there is no agent on it yet: run fleet apply"
        return HostStatus(name, True, None, f"{name}: {error}")
    wanted, actual = reached.host.backend, backend_of(facts.report)
    reason = backend_reason(wanted, actual, facts.wireguard)
    return HostStatus(name, True, facts.report, None, reason, asked_for=wanted == actual)


def backend_reason(wanted: str, actual: str | None, wireguard: bool) -> str | None:
    """Why a host whose fleet_backend is `wanted` has `actual`; `wireguard`: whether its kernel has it now."""
    if actual is None:
        return None
    if wanted == actual:
        return f"fleet_backend is {wanted}"
    if wanted != "auto":
        return f"fleet_backend is {wanted}: apply moves it"
    if actual == "kernel":
        return "auto: its kernel has WireGuard"
    if wireguard:
        return "auto: its kernel had no WireGuard, but has now: fleet_backend: kernel moves it"
    return "auto: its kernel has no WireGuard"
