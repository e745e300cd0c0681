"""What can be wrong with a topology: links that cannot be, and hosts that nobody can reach. Pure.

Refuses to know YAML. Called by `fleet.intent` after the inventory's own checks, also when those found
something.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleet.errors import Finding
from fleet.inventory.model import HubRule, Inventory, LinkRule, Rule
from fleet.topology.graph import Graph, build, can_link, pairs

_NAMED = 5
"""How many hosts a message lists."""


def check(inventory: Inventory) -> list[Finding]:
    """Every finding, in the topology's order."""
    graph = build(inventory)
    areas = _areas(graph)
    findings: list[Finding] = []
    for rule in inventory.rules:
        if isinstance(rule, LinkRule):
            findings += _link(inventory, rule)
        elif isinstance(rule, HubRule):
            orphans = _orphans(inventory, rule)
            findings += _spokes_without_hub(inventory, rule, orphans)
            findings += _cut_off(inventory, rule, areas, orphans)
        else:
            findings += _cut_off(inventory, rule, areas, frozenset())
    return findings + list(_alone(inventory)) + list(_egress(inventory, graph))


def notes(inventory: Inventory) -> Iterator[str]:
    """What an operator should know of a fleet that is as it should be."""
    for host in inventory.hosts.values():
        if host.egress is None:
            continue
        if not inventory.hosts[host.egress].masquerade:
            yield (
                f"fleet_egress of {host.name}: {host.egress} has no fleet_masquerade, so networks beyond it "
                "must know the way back to the fleet: where they do not, set fleet_masquerade: [INTERFACE] "
                f"on {host.egress}"
            )
        versions = {pool.version for pool in inventory.pools}
        for version in sorted({4, 6} - versions):
            yield (
                f"fleet_egress of {host.name}: the fleet has no IPv{version} pool, so what {host.name} sends "
                f"over IPv{version} goes out as before"
            )


def _egress(inventory: Inventory, graph: Graph) -> Iterator[Finding]:
    for name, host in inventory.hosts.items():
        if host.egress in inventory.hosts and host.egress not in (name, *graph.links[name]):
            yield Finding(
                host.place("fleet_egress"),
                f"fleet_egress: {name} has no link to {host.egress}; name a host that it is linked with, or "
                f"add `link: [{name}, {host.egress}]` to fleet.topology",
            )


def _link(inventory: Inventory, rule: LinkRule) -> Iterator[Finding]:
    one, other = (inventory.hosts[name] for name in rule.hosts)
    if one.name != other.name and not can_link(one, other):
        yield Finding(
            rule.where,
            f"link: neither of {one.name} and {other.name} can be called, both are behind NAT; forward a "
            "port to one of them and set its fleet_endpoint, or link both to a host that can be called and "
            "has fleet_transit: true",
        )


def _orphans(inventory: Inventory, rule: HubRule) -> frozenset[str]:
    """The spokes that can have no link to any hub of their rule."""
    linked = set(rule.hubs)
    for hub, spoke in pairs(rule):
        if can_link(inventory.hosts[hub], inventory.hosts[spoke]):
            linked.add(spoke)
    return frozenset(rule.spokes) - linked


def _spokes_without_hub(inventory: Inventory, rule: HubRule, orphans: frozenset[str]) -> Iterator[Finding]:
    for spoke in rule.spokes:
        if spoke not in orphans:
            continue
        if not rule.hubs:
            yield Finding(rule.where, f"hub: {spoke} is a spoke without a hub; name at least one hub")
            continue
        hubs = _some(rule.hubs)
        yield Finding(
            inventory.hosts[spoke].place("fleet_nat"),
            f"{spoke} is a spoke without a hub: neither it nor {hubs} can be called, all are behind NAT; "
            f"make a host that can be called its hub, or forward a port to {rule.hubs[0]} and set its "
            "fleet_endpoint",
        )


def _cut_off(
    inventory: Inventory, rule: Rule, areas: dict[str, frozenset[str]], known: frozenset[str]
) -> Iterator[Finding]:
    """Pairs that have neither the link that the rule asks for nor a way around it."""
    missing: dict[str, dict[str, None]] = {}
    for one, other in pairs(rule):
        if can_link(inventory.hosts[one], inventory.hosts[other]) or known & {one, other}:
            continue
        if not areas[one] & areas[other]:
            missing.setdefault(one, {})[other] = None
    for one, others in missing.items():
        yield Finding(
            rule.where,
            f"{one} and {_some(tuple(others))} cannot call each other, being behind NAT, and no transit host "
            "joins them; set fleet_transit: true on a host that both have a link to, or forward a port to "
            f"{one} and set its fleet_endpoint",
        )


def _alone(inventory: Inventory) -> Iterator[Finding]:
    """Hosts that no rule links with another; those whose links cannot be have a finding already."""
    named = {name for rule in inventory.rules for pair in pairs(rule) for name in pair}
    if len(inventory.hosts) < 2:
        return
    for name, host in inventory.hosts.items():
        if name not in named:
            yield Finding(
                host.where,
                f"{name} is linked with nobody: no rule of fleet.topology pairs it with another host; add it "
                "to a mesh, a hub's spokes or a link, or take it out of the inventory",
            )


def _areas(graph: Graph) -> dict[str, frozenset[str]]:
    """For every host, the areas it is in, each named by a host of its own.

    An area is a largest set of transit hosts that reach each other through transit hosts, with all
    their neighbours: two hosts without a link reach each other if they share one.
    """
    transit = set(graph.transit)
    area: dict[str, str] = {}
    for start in graph.transit:
        waiting = [start] if start not in area else []
        while waiting:
            name = waiting.pop()
            if name not in area:
                area[name] = start
                waiting += graph.links[name] & transit
    return {
        name: frozenset(area[inner] for inner in (neighbours | {name}) & transit)
        for name, neighbours in graph.links.items()
    }


def _some(names: tuple[str, ...]) -> str:
    if len(names) <= _NAMED:
        return " or ".join(names)
    return f"{', '.join(names[:_NAMED])} or {len(names) - _NAMED} others"
