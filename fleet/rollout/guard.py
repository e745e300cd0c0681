"""Refuses to write to hosts that are not who this state and the inventory take them for. Pure.

Lost state, a fresh clone or a restored backup must never lead to new keys for a live fleet, nor a wrong
address to one host in the place of another. Called by `fleet.rollout.intend` before anything is written,
here or on a host.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from agent.report import Report
from fleet.errors import FleetError


@dataclass(frozen=True)
class Known:
    """What the state knows of its fleet; None as a whole where there is no state."""

    fleet_id: str
    revision: int


def check_identity(
    known: Known | None,
    reports: Mapping[str, Report],
    names: Container[str],
    state_place: str,
    command: str = "",
) -> None:
    """Raises FleetError, naming hosts and ways out, where a report's fleet or revision is not the state's.

    So it does for a host that is another one of the inventory's `names`. The options that are ways out are
    those of `command`, where it is not the one that asks.
    """
    strangers = {
        host: report
        for host, report in reports.items()
        if report.fleet is not None and (known is None or report.fleet != known.fleet_id)
    }
    if strangers:
        raise FleetError(_refusal(known, strangers, state_place, command))
    ahead = {
        host: report.revision
        for host, report in reports.items()
        if known is not None and report.revision is not None and report.revision > known.revision
    }
    if known is not None and ahead:
        listed = ", ".join(f"{host} (revision {revision})" for host, revision in sorted(ahead.items()))
        raise FleetError(
            f"The state in {state_place} is older than the fleet: it knows revision {known.revision}, "
            f"but there are {listed}. Nothing was changed.\n"
            "Ways out:\n"
            f"  restore {state_place} from a newer backup\n"
            f"  {command}--adopt      take the fleet over as it is, with the keys that its hosts hold"
        )
    others = [
        f"{host} says that it is {report.host}"
        for host, report in reports.items()
        if report.host != host and report.host in names
    ]
    if others:
        raise FleetError(
            f"These hosts are others of the inventory: {'; '.join(others)}. Nothing was changed.\n"
            "Ways out:\n"
            "  correct their ansible_host, where they are confused\n"
            "  where a host was copied from another: stop fleet-agent on it and delete /var/lib/fleet-agent"
        )


def _refusal(known: Known | None, strangers: Mapping[str, Report], state_place: str, command: str) -> str:
    owners = sorted({f'"{report.fleet_name}" ({report.fleet})' for report in strangers.values()})
    mine = (
        f"the fleet of {state_place} is {known.fleet_id}" if known else f"there is no state in {state_place}"
    )
    return (
        f"These hosts belong to a fleet that this state does not know: {', '.join(sorted(strangers))} "
        f"belong to {' and '.join(owners)}, and {mine}. Nothing was changed.\n"
        "Ways out:\n"
        f"  restore {state_place} from a backup, or run where it was kept\n"
        f"  {command}--adopt      take the fleet over as it is, with the keys that its hosts hold\n"
        f"  {command}--new-fleet  start anew with new keys: links are down until every host is done"
    )
