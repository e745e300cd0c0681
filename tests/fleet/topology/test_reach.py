"""Exactly the right pairs reach each other, by the fewest links, both ways by the same hosts."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings

from fleet.inventory.model import Address, Inventory
from tests.fleet import fleets
from tests.fleet.topology.topologies import compiled, distances, inventories
from tests.fleet.topology.walk import DroppedError, Net


def net_of(inventory: Inventory) -> Net:
    return Net(compiled(inventory), {name: host.subnets for name, host in inventory.hosts.items()})


def places(net: Net, name: str) -> list[Address]:
    """Whom one can talk to at a host: itself, and the first and last client of each of its subnets."""
    machine = net.machines[name]
    return machine.addresses + [subnet[index] for subnet in machine.subnets for index in (1, -2)]


@given(inventories())
@settings(max_examples=200, deadline=None)
def test_exactly_the_right_places_reach_each_other(inventory: Inventory) -> None:
    net = net_of(inventory)
    for one, other in permutations(inventory.hosts, 2):
        distance = distances(inventory, one).get(other)
        for source in places(net, one):
            for destination in places(net, other):
                if source.version != destination.version:
                    continue
                if distance is None:
                    with pytest.raises(DroppedError):
                        net.walk(one, source, destination)
                else:
                    passed = net.walk(one, source, destination)
                    assert passed[-1] == other
                    assert len(passed) == distance + 1
                    assert net.walk(other, destination, source) == passed[::-1]


@given(inventories())
@settings(max_examples=50, deadline=None)
def test_what_nobody_has_ends_nowhere(inventory: Inventory) -> None:
    net = net_of(inventory)
    taken = {place for name in inventory.hosts for place in net.machines[name].addresses}
    subnets = [subnet for host in inventory.hosts.values() for subnet in host.subnets]
    for pool in inventory.pools:
        for nobody in (pool[index] for index in (0, 3, 5, -3, -2, -1)):
            if nobody in taken or any(nobody in subnet for subnet in subnets):
                continue
            for name in inventory.hosts:
                for source in places(net, name):
                    if source.version == nobody.version:
                        with pytest.raises(DroppedError, match="has no"):
                            net.walk(name, source, nobody)


@given(inventories())
@settings(max_examples=50, deadline=None)
def test_packets_of_a_host_carry_its_own_address(inventory: Inventory) -> None:
    net = net_of(inventory)
    for one, other in permutations(inventory.hosts, 2):
        own = {address.version: address for address in reversed(net.machines[one].addresses)}
        if other not in distances(inventory, one):
            continue
        for destination in places(net, other):
            if destination.version in own:
                assert net.machines[one].source_for(destination) == own[destination.version]


@given(inventories())
@settings(max_examples=50, deadline=None)
def test_own_subnets_stay_out_of_the_tunnel(inventory: Inventory) -> None:
    net = net_of(inventory)
    for name, host in inventory.hosts.items():
        machine = net.machines[name]
        for place in (subnet[index] for subnet in host.subnets for index in (0, 1, -2, -1)):
            assert machine.source_for(place) is None
            assert machine.peer_for(place) is None


def test_the_example_of_the_documentation() -> None:
    net = net_of(fleets.example())
    oslo, lab7 = net.machines["oslo"].addresses[0], net.machines["lab7"].addresses[0]
    assert net.walk("oslo", oslo, lab7) == ["oslo", "fra1", "lab7"]
