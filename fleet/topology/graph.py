"""Who is linked with whom, and who passes packets on: the topology's rules as a graph.

Job: rules to links. A link is one WireGuard peering, and needs one side that the other can call. Refuses
to know addresses and keys. Called by `fleet.topology.check`, `paths` and `compile`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product

from fleet.inventory.model import Host, HubRule, Inventory, MeshRule, Rule


@dataclass(frozen=True)
class Graph:
    """`links`: every host's neighbours; `transit`: who passes packets on, the most preferred first."""

    links: Mapping[str, frozenset[str]]
    transit: tuple[str, ...]


def build(inventory: Inventory) -> Graph:
    """The graph of an inventory; pairs of which neither can call the other have no link.

    Hubs and hosts with fleet_transit pass packets on, and are preferred in the inventory's order.
    """
    links: dict[str, set[str]] = {name: set() for name in inventory.hosts}
    for rule in inventory.rules:
        for one, other in pairs(rule):
            if can_link(inventory.hosts[one], inventory.hosts[other]):
                links[one].add(other)
                links[other].add(one)
    hubs = {hub for rule in inventory.rules if isinstance(rule, HubRule) for hub in rule.hubs}
    return Graph(
        {name: frozenset(neighbours) for name, neighbours in links.items()},
        tuple(name for name, host in inventory.hosts.items() if name in hubs or host.transit),
    )


def pairs(rule: Rule) -> Iterator[tuple[str, str]]:
    """The pairs of different hosts that a rule asks to link; some may come twice."""
    if isinstance(rule, MeshRule):
        return combinations(dict.fromkeys(rule.hosts), 2)
    if isinstance(rule, HubRule):
        return ((hub, spoke) for hub, spoke in product(rule.hubs, rule.spokes) if hub != spoke)
    one, other = rule.hosts
    return iter([(one, other)] if one != other else [])


def can_link(one: Host, other: Host) -> bool:
    """Whether one of the two can call the other."""
    return one.endpoint is not None or other.endpoint is not None
