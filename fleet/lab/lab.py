"""What the lab commands do: up, down, reboot, what state it is in, and which process a node is.

Called by `fleet.cli.lab`. Refuses to know how anything is shown.
"""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.errors import FleetError
from fleet.inventory.model import Inventory
from fleet.lab import processes, tools
from fleet.lab.layout import Layout, lay_out
from fleet.lab.record import Place, Record, find, place_of

if TYPE_CHECKING:
    from fleet.lab.build import Built


@dataclass(frozen=True)
class NodeState:
    """A client (or host) with its first address, and whether it runs."""

    name: str
    address: str
    up: bool


@dataclass(frozen=True)
class HostState:
    """A host: where it is logged in to, whether it runs, and the clients behind it."""

    name: str
    address: str
    port: int
    nat: bool
    up: bool
    clients: tuple[NodeState, ...]


@dataclass(frozen=True)
class Lab:
    """A lab that was made, whole or not."""

    place: Place
    record: Record

    @property
    def layout(self) -> Layout:
        """What it should consist of."""
        return self.record.layout


def up(inventory: Inventory) -> tuple[Lab, Built]:
    """Makes the lab of an inventory, or what is missing of it.

    Raises FleetError, FindingsError where the inventory asks for what a lab cannot be.
    """
    from fleet.lab.build import build

    tools.need_root("up")
    place = place_of(inventory.file, inventory.name)
    taken = tools.taken(f"fl-{place.id}")
    layout = lay_out(inventory, place.id, taken, getpass.getuser())
    tools.need_programs(layout)
    file = str(inventory.file.resolve())
    with place.lock():
        old = place.load()
        if old is not None and old.inventory != file:
            raise FleetError(
                f"{inventory.file}: a lab of this name was made from {old.inventory}: "
                f"take that down first (fleet lab down {old.inventory}), or give this fleet another name"
            )
        record = Record(1, inventory.name, file, layout)
        return Lab(place, record), build(place, old, record)


def find_lab(file: Path) -> Lab:
    """The lab that was made from an inventory file. Raises FleetError where there is none."""
    found = find(file)
    if found is None:
        raise FleetError(f"{file}: there is no lab of this inventory: fleet lab up {file}")
    return Lab(*found)


def planned(inventory: Inventory) -> Lab:
    """The lab that `up` would make. Raises FindingsError as it does."""
    place = place_of(inventory.file, inventory.name)
    layout = lay_out(inventory, place.id, [], getpass.getuser())
    return Lab(place, Record(1, inventory.name, str(inventory.file.resolve()), layout))


def down(lab: Lab) -> tuple[str, ...]:
    """Takes a lab away; the names of what was running."""
    from fleet.lab.build import tear_down

    tools.need_root("down")
    with lab.place.lock():
        return tear_down(lab.place, lab.layout.id)


def down_without_record(inventory: Inventory) -> tuple[str, ...]:
    """Takes away what bears the mark of an inventory's lab, though its record is lost."""
    from fleet.lab.build import tear_down

    tools.need_root("down")
    place = place_of(inventory.file, inventory.name)
    with place.lock():
        return tear_down(place, place.id)


def reboot(lab: Lab, names: Sequence[str]) -> Built:
    """Reboots nodes, all hosts where none is named: everything in them ends, then they boot again."""
    from fleet.lab.build import build

    tools.need_root("reboot")
    for name in names:
        _known(lab.layout, name)
    chosen = set(names) or {door.host for door in lab.layout.doors}
    with lab.place.lock():
        return build(lab.place, lab.record, lab.record, again=chosen)


def pid_of(lab: Lab, name: str) -> int:
    """The first process of a node. Raises FleetError where it is unknown or not running."""
    tools.need_root("exec")
    _known(lab.layout, name)
    pid = processes.running(lab.layout.id).get(name)
    if pid is None:
        raise FleetError(f"{name} is not running: fleet lab up {lab.record.inventory} makes what is missing")
    return pid


def states(layout: Layout) -> list[HostState]:
    """Every host and its clients, in the inventory's order."""
    pids = processes.running(layout.id)
    return [
        HostState(
            door.host,
            door.address,
            door.port,
            door.nat,
            door.host in pids,
            tuple(
                NodeState(n.name, layout.address(n.name), n.name in pids) for n in layout.clients(door.host)
            ),
        )
        for door in layout.doors
    ]


def _known(layout: Layout, name: str) -> None:
    names = [node.name for node in layout.nodes]
    if name not in names:
        raise FleetError(f"{name!r} is nothing in this lab; there are: {', '.join(sorted(names))}")
