"""Makes a lab real, or again what is missing of it, and takes it away.

Job: order. Old things end before the record changes, the record is written before new things are made, a
node becomes its init only when it is wired: so at whatever moment this is killed, what a later run finds
running is whole, and the rest is made anew. Called by `lab`.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import FleetError
from fleet.lab import keys, processes, tools, wiring
from fleet.lab.layout import MACHINE, Door, Layout, Node, Wire
from fleet.lab.machine import CREATED, WIRED, Birth, spawn
from fleet.lab.record import Place, Record
from fleet.lab.volumes import volumes

_SECONDS = 30.0


@dataclass(frozen=True)
class Built:
    """What a run did: nodes made, kept as they were, and ended for good."""

    made: tuple[str, ...]
    kept: tuple[str, ...]
    ended: tuple[str, ...]


def build(place: Place, old: Record | None, new: Record, again: Collection[str] = ()) -> Built:
    """Makes what is missing or different, and `again` what is named there. Raises FleetError."""
    layout = new.layout
    pids = processes.running(layout.id)
    fresh = [n for n in layout.nodes if n.name in again or n.name not in pids or _changed(n, old, layout)]
    names = {node.name for node in fresh}
    ended = [name for name in pids if name not in {node.name for node in layout.nodes}]
    processes.end(layout.id, [(name, pids[name]) for name in [*ended, *(names & pids.keys())]])
    place.save(new)
    keys.prepare(place, layout.doors)
    kept = {name: pid for name, pid in pids.items() if name not in names and name not in ended}
    births: list[Birth] = []
    try:
        visible = volumes(Path("/proc/self/mountinfo").read_text())
        births = [spawn(node, place, layout.id, visible) for node in fresh]
        for birth in births:
            _expect(birth, CREATED)
        _wire(layout, fresh, kept, {birth.node.name: birth.pid for birth in births})
        for birth in births:
            birth.channel.send(WIRED)
        _wait_for_logins([door for door in layout.doors if door.host in names], births)
    except BaseException as error:
        for birth in births:
            os.kill(birth.pid, signal.SIGKILL)
        if isinstance(error, OSError):
            raise FleetError(f"the lab cannot be made here: {error}") from error
        raise
    finally:
        for birth in births:
            birth.channel.close()
    return Built(tuple(node.name for node in fresh), tuple(kept), tuple(ended))


def tear_down(place: Place, lab_id: str) -> tuple[str, ...]:
    """Ends everything that bears the lab's mark and deletes its folder; the names of what was running."""
    interface = f"fl-{lab_id}"
    if tools.interface_exists(interface):
        tools.batch(f"link del {interface}\n")
    pids = processes.running(lab_id)
    processes.end(lab_id, pids.items())
    place.remove()
    return tuple(pids)


def _changed(node: Node, old: Record | None, layout: Layout) -> bool:
    """Whether a running node is not what it should be: itself, or its way out."""
    if old is None or node not in old.layout.nodes:
        return True
    way_out = [wire for wire in layout.wires if wire.far.node == node.name and wire.near.node != MACHINE]
    return not all(wire in old.layout.wires for wire in way_out)


def _wire(layout: Layout, fresh: Sequence[Node], kept: dict[str, int], born: dict[str, int]) -> None:
    pids = {**kept, **born}
    wires = [wire for wire in layout.wires if {wire.near.node, wire.far.node} & born.keys()]
    uplink = next(wire for wire in layout.wires if wire.near.node == MACHINE)
    if uplink not in wires and not tools.interface_exists(layout.interface):
        wires.append(uplink)
    for name in (MACHINE, *kept):
        left = wiring.ends_of(name, wires)
        if left:
            tools.batch(wiring.remove(left), kept.get(name), force=True)
    tools.batch(wiring.create(wires, pids))
    if uplink not in wires:  # its routes follow the hosts
        wires.append(uplink)
    jobs: dict[str, tuple[int | None, list[str], str]] = {}
    for name, pid in pids.items():
        ends = wiring.ends_of(name, wires)
        if ends:
            jobs[name] = (pid, ["ip", "-batch", "-"], wiring.configure(ends))
    for node in fresh:
        if node.rules:
            jobs[f"rules of {node.name}"] = (pids[node.name], ["nft", "-f", "-"], node.rules)
    tools.run_all(jobs)
    _lead_in(uplink)


def _lead_in(uplink: Wire) -> None:
    """This machine's own end: routes to the hosts that are, none to those that were."""
    interface = uplink.near.interface
    tools.batch(wiring.configure([uplink.near]))
    wanted = {route.split()[0] for route in uplink.near.routes}
    stale = tools.routes_of(interface) - wanted
    tools.batch("".join(f"route del {route} dev {interface}\n" for route in sorted(stale)))


def _expect(birth: Birth, wanted: bytes) -> None:
    message = birth.receive()
    if message != wanted:
        reason = message.decode(errors="replace") or "it ended while it was being made"
        raise FleetError(f"{birth.node.name}: cannot be made: {reason}")


def _wait_for_logins(doors: Iterable[Door], births: Sequence[Birth]) -> None:
    """Until sshd answers at every door from here, through everything that lies between."""
    for birth in births:
        message = birth.receive()
        if message:  # nothing but complaints comes after the wiring
            raise FleetError(f"{birth.node.name}: cannot be made: {message.decode(errors='replace')}")
    limit = time.monotonic() + _SECONDS
    for door in doors:
        while not _answers(door):
            if time.monotonic() > limit:
                raise FleetError(f"{door.host}: no SSH server answers at {door.address} port {door.port}")
            time.sleep(0.01)


def _answers(door: Door) -> bool:
    with suppress(OSError), socket.create_connection((door.address, door.port), timeout=1.0) as connection:
        return connection.recv(4).startswith(b"SSH")
    return False
