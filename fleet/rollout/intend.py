"""From the inventory, the memory and what hosts say, to what every host should be.

Job: the guard, or the deliberate ways around it (taking a fleet over, starting a new one), then
`fleet.desired`. Writes nothing, here or on a host. Called by `fleet.cli.apply`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from agent.report import Report
from agent.secret import Secrets
from fleet.adoption import adopt
from fleet.delivery import agent as agents
from fleet.desired import Desired, desire
from fleet.errors import FleetError
from fleet.inventory.model import Host, Inventory
from fleet.keys.keyring import Keyring
from fleet.rollout.guard import Known, check_identity
from fleet.rollout.reach import Reached, in_parallel
from fleet.state.memory import Memory

Mode = Literal["known", "adopt", "new"]
"""The fleet of the state; the one that hosts belong to; another one than before."""


def intend(
    inventory: Inventory,
    memory: Memory | None,
    reached: Mapping[str, Reached],
    keyring: Keyring,
    *,
    mode: Mode,
    place: Path,
    forks: int,
    random: Callable[[int], bytes],
) -> Desired:
    """What every host should be. `place` is where the state lies, for errors. Raises FleetError."""
    reports = {
        name: found.facts.report
        for name, found in reached.items()
        if found.facts is not None and found.facts.report is not None
    }
    if mode == "known":
        known = None if memory is None else Known(memory.fleet_id, memory.revision)
        check_identity(known, reports, inventory.hosts, str(place))
    elif mode == "adopt":
        memory = _take_over(inventory, reports, reached, keyring, forks, random)
    else:
        memory = None
    return desire(inventory, memory, keyring.create if memory is None else keyring.find, random)


def identity_notes(reached: Mapping[str, Reached]) -> list[str]:
    """Sentences about hosts that had another name than the inventory's, and were not refused for it."""
    return [
        f"{name} was {found.facts.report.host} until now and becomes {name}"
        for name, found in reached.items()
        if found.facts is not None
        and found.facts.report is not None
        and found.facts.report.host not in (None, name)
    ]


def _take_over(
    inventory: Inventory,
    reports: Mapping[str, Report],
    reached: Mapping[str, Reached],
    keyring: Keyring,
    forks: int,
    random: Callable[[int], bytes],
) -> Memory:
    members = {name: report for name, report in reports.items() if report.fleet is not None}
    fleets = sorted({report.fleet for report in members.values() if report.fleet is not None})
    if not fleets:
        elsewhere = sorted({other.name for report in reports.values() for other in report.others})
        raise FleetError(
            f"There is nothing to adopt: no host that answers belongs to a fleet {inventory.name}"
            + (f"; there are {', '.join(elsewhere)}: is fleet.name right?" if elsewhere else "")
        )
    if len(fleets) > 1:
        owners = "; ".join(
            f"{fleet}: {', '.join(name for name, report in members.items() if report.fleet == fleet)}"
            for fleet in fleets
        )
        raise FleetError(
            f"There is more than one fleet to adopt ({owners}): take the hosts of all but one out of the "
            "inventory first"
        )

    def ask(host: Host) -> tuple[str, Secrets]:
        transport = reached[host.name].transport
        assert transport is not None
        return host.name, agents.secrets(transport, fleets[0])

    secrets = dict(in_parallel(ask, [reached[name].host for name in members], forks))
    fleet = fleets[0]
    sealer = keyring.find(fleet) if keyring.file(fleet).exists() else keyring.create(fleet)
    return adopt(inventory, members, secrets, sealer, random)
