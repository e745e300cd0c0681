"""The `ip -batch` lines that make the wires of a lab. Pure: process ids are arguments. Called by `build`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fleet.lab.layout import MACHINE, End, Wire


def create(wires: Iterable[Wire], pids: Mapping[str, int]) -> str:
    """Makes the veth pairs from this machine's namespace, each end where it belongs from the start."""
    return "".join(
        f"link add name {wire.near.interface}{_where(wire.near, pids)} type veth "
        f"peer name {wire.far.interface}{_where(wire.far, pids)}\n"
        for wire in wires
    )


def remove(ends: Iterable[End]) -> str:
    """Takes away what an earlier wire may have left in one namespace; for `ip -force`."""
    return "".join(f"link del {end.interface}\n" for end in ends)


def configure(ends: Iterable[End]) -> str:
    """Brings up the ends of one node and gives them addresses and routes."""
    return "link set lo up\n" + "".join(line for end in ends for line in _configure(end))


def ends_of(node: str, wires: Iterable[Wire]) -> list[End]:
    """The ends that a node has of these wires."""
    return [end for wire in wires for end in (wire.near, wire.far) if end.node == node]


def _where(end: End, pids: Mapping[str, int]) -> str:
    return "" if end.node == MACHINE else f" netns {pids[end.node]}"


def _configure(end: End) -> Iterable[str]:
    yield f"link set {end.interface} up\n"
    for address in end.addresses:
        # duplicate address detection would keep an address unusable for a second
        yield f"addr replace {address} dev {end.interface}{' nodad' if ':' in address else ''}\n"
    for route in end.routes:
        yield f"route replace {route} dev {end.interface}\n"
