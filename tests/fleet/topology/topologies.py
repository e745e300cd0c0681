"""Random topologies, and who should reach whom in them by an obvious search.

Called by the property tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from hypothesis import strategies as st

from agent.bundle import Bundle
from fleet.inventory.model import Host, HubRule, Inventory, MeshRule, Rule
from fleet.state.addresses import assign
from fleet.topology.compile import compile_bundles
from fleet.topology.identity import Identity
from tests.fleet import fleets

FLEET_ID = "00112233445566778899aabbccddeeff"
NAMES = [f"h{number}" for number in range(9)]
POOLS = [
    ["10.77.0.0/24"],
    ["fd77::/64"],
    ["10.77.0.0/24", "fd77::/64"],
    ["10.77.0.0/29", "fd77::/64", "10.88.0.0/24"],
]
SUBNETS = [f"192.168.{number}.0/24" for number in range(8)] + [f"fd99:0:0:{n}::/64" for n in range(4)]
POOLED = [f"10.77.0.{number * 16}/28" for number in range(4, 10)]
"""Subnets that lie in a pool."""


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    draw_subnets = draw(st.permutations(SUBNETS + POOLED))
    hosts = [_host(draw, name, draw_subnets) for name in names]
    rules = draw(st.lists(_rules(names), min_size=1, max_size=5))
    return fleets.inventory(hosts, rules, draw(st.sampled_from(POOLS)))


def _host(draw: st.DrawFn, name: str, subnets: list[str]) -> Host:
    return fleets.host(
        name,
        nat=draw(st.booleans()),
        transit=draw(st.integers(0, 3)) == 0,
        subnets=[subnets.pop() for _ in range(max(0, draw(st.integers(-3, 3)))) if subnets],
    )


@st.composite
def _rules(draw: st.DrawFn, names: list[str]) -> Rule:
    kind = draw(st.sampled_from(["mesh", "hub", "hub", "link", "link"]))
    some = st.lists(st.sampled_from(names), min_size=1, max_size=5, unique=True)
    if kind == "mesh":
        return fleets.mesh(*draw(some))
    if kind == "hub":
        return fleets.hub(draw(some), draw(some))
    one, other = draw(st.permutations(names))[:2]
    return fleets.link(one, other)


def compiled(inventory: Inventory) -> dict[str, Bundle]:
    return compile_bundles(inventory, identities(inventory), FLEET_ID, lambda pair: 1)


def identities(inventory: Inventory) -> dict[str, Identity]:
    return {
        name: Identity(name.encode().hex().zfill(16), addresses, fleets.key(name), 1)
        for name, addresses in assign(inventory, {}).items()
    }


def expected_links(inventory: Inventory) -> set[frozenset[str]]:
    asked: set[frozenset[str]] = set()
    for rule in inventory.rules:
        if isinstance(rule, MeshRule):
            asked |= {frozenset(pair) for pair in combinations(rule.hosts, 2)}
        elif isinstance(rule, HubRule):
            asked |= {frozenset([hub, spoke]) for hub in rule.hubs for spoke in rule.spokes}
        else:
            asked.add(frozenset(rule.hosts))
    return {
        pair
        for pair in asked
        if len(pair) == 2 and any(inventory.hosts[name].endpoint is not None for name in pair)
    }


def passes_on(inventory: Inventory) -> set[str]:
    hubs = {hub for rule in inventory.rules if isinstance(rule, HubRule) for hub in rule.hubs}
    return hubs | {name for name, host in inventory.hosts.items() if host.transit}


def distances(inventory: Inventory, start: str) -> Mapping[str, int]:
    """How many links away everyone is whom `start` should reach, by growing a set of paths' ends."""
    links, transit = expected_links(inventory), passes_on(inventory)
    found = {start: 0}
    steps = 0
    frontier = {start}
    while frontier:
        steps += 1
        reached = {
            name
            for link in links
            for end in frontier & link
            if end == start or end in transit
            for name in link - {end}
        }
        frontier = reached - found.keys()
        found |= dict.fromkeys(frontier, steps)
    return found
