"""Whatever several fleets do on one host, in any order: none of them notices the others."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Optional
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from agent.bundle import Bundle, Gateway, Route
from agent.resident import member as module
from agent.resident.admission import RefusedError
from tests.agent.resident.test_fleets import World
from tests.agent.samples import bundle, interface, peer

FLEETS = ("ab" * 16, "cd" * 16, "ef" * 16)


@dataclass(frozen=True)
class Wish:
    """What one operator applies; small numbers, so that fleets collide now and then."""

    fleet: int
    interfaces: tuple[tuple[int, int, int], ...]
    forwarding: bool
    gateway: bool

    def bundle(self, revision: int) -> Bundle:
        wanted = [
            interface(
                f"wg{name}",
                listen_port=51820 + port,
                addresses=(f"10.{net}.0.{self.fleet + 1}/32",),
                routes=(Route(f"10.{net}.0.0/16"),),
                peers=(peer(9, addresses=(f"10.{net}.0.9",), allowed_ips=(f"10.{net}.0.9/32",)),),
                gateway=Gateway(clamp_mss=True) if self.gateway else None,
            )
            for name, port, net in self.interfaces
        ]
        names = ("acme", "beta", "gamma")
        fleet, name = FLEETS[self.fleet], names[self.fleet]
        return bundle(revision, wanted, fleet=fleet, fleet_name=name, forwarding=self.forwarding)


_interfaces = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
    max_size=2,
    unique_by=(
        lambda wish: wish[0],
        lambda wish: wish[1],
        lambda wish: wish[2],
    ),
).map(tuple)
_wishes = st.builds(Wish, st.integers(0, 2), _interfaces, st.booleans(), st.booleans())


@given(st.lists(_wishes, max_size=8))
def test_no_fleet_notices_what_another_does(wishes: list[Wish]) -> None:
    """A refused bundle changes nothing, and one that is taken nothing of the others."""
    with TemporaryDirectory() as folder, mock.patch.object(module, "indexes", dict.fromkeys):
        world = World(Path(folder) / "state")
        held: dict[str, Optional[Bundle]] = {}
        for revision, wish in enumerate(wishes, 1):
            wanted = wish.bundle(revision)
            before = deepcopy(world.host.simulated.devices)
            try:
                report = world.apply(wanted)
            except RefusedError:
                assert world.host.simulated.devices == before
                continue
            assert (report.revision, report.pending, report.problems) == (revision, (), ())
            held[wanted.fleet] = wanted if wanted.interfaces or wanted.forwarding else None
            _check(world, held, wanted.fleet, before)


def _check(
    world: World, held: dict[str, Optional[Bundle]], changed: str, before: Mapping[str, object]
) -> None:
    kept = {fleet: wanted for fleet, wanted in held.items() if wanted is not None}
    assert set(world.folders()) == set(kept)
    devices = world.host.simulated.devices
    assert set(devices) == {i.name for wanted in kept.values() for i in wanted.interfaces}
    for fleet, wanted in kept.items():
        report = world.report(fleet)
        assert (report.digest, report.pending) == (wanted.digest(), ())
        if fleet != changed:
            assert all(devices[i.name] == before[i.name] for i in wanted.interfaces)
    assert world.host.simulated.forwarding is any(wanted.forwarding for wanted in kept.values())
    gateways = {i.name for wanted in kept.values() for i in wanted.interfaces if i.gateway is not None}
    assert set(world.host.simulated.firewalls) == gateways
