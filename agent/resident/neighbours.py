"""Several fleets on one host: what one sees of it, what it tells of the others, and where they collide. Pure.

Job: keep what is another fleet's out of what one fleet observes, and say in one sentence why a bundle
cannot be beside the others. Refuses to know folders and requests. Called by engine and fleets.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Optional, Union

from agent import egress
from agent.bundle import Bundle, Interface
from agent.report import Observed, OtherFleet
from agent.resident.admission import RefusedError
from agent.resident.store import Contents

MOST_NAMED = 3
"""How many collisions a sentence names."""

_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
_Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


def own_part(observed: Observed, mine: Contents, others: Iterable[Contents]) -> Observed:
    """`observed` without what is the others', and with what they want of the whole host.

    Beside one that cannot be read, what is not by its name `mine` might be its.
    """
    held = list(others)
    if any(contents.bundle is None for contents in held):
        own = {rule for bundle in _bundles(mine) for rule in _rules(bundle)}
        names = _names(mine)
        return replace(
            observed,
            rules=tuple(rule for rule in observed.rules if rule in own),
            firewalls=tuple(seen for seen in observed.firewalls if seen.interface in names),
            shared=("forwarding",),
        )
    theirs = {name for contents in held for name in _names(contents)}
    forwarding = any(bundle.forwarding for contents in held for bundle in _bundles(contents))
    rules = {rule for contents in held for bundle in _bundles(contents) for rule in _rules(bundle)}
    return replace(
        observed,
        rules=tuple(rule for rule in observed.rules if rule not in rules),
        firewalls=tuple(seen for seen in observed.firewalls if seen.interface not in theirs),
        shared=("forwarding",) if forwarding else (),
    )


def told(fleet: str, contents: Contents) -> OtherFleet:
    """What the report of one fleet says of another, whose id is `fleet`."""
    bundle = contents.bundle
    return OtherFleet(fleet, None) if bundle is None else OtherFleet(bundle.fleet_name, bundle.version)


def check_beside(wanted: Bundle, held: Optional[Contents], others: Mapping[str, Contents]) -> None:
    """Raises RefusedError, which names the other fleet, where `wanted` would take something from one.

    `wanted` takes the place of `held`, which is None where that cannot be read; `others` are by their ids.
    Beside one that cannot be read there must be no new interfaces: they might be its.
    """
    new = set() if held is None else {interface.name for interface in wanted.interfaces} - _names(held)
    for fleet, contents in others.items():
        if contents.bundle is None:
            if new:
                raise RefusedError(
                    f"what this host keeps of fleet {fleet} cannot be read, and {min(new)} might be an "
                    "interface of it: apply it again first, or delete its folder and restart the agent"
                )
            continue
        found = list(dict.fromkeys(_collisions(wanted, contents)))
        if found:
            more = f"; and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
            raise RefusedError(
                f'fleet "{wanted.fleet_name}" cannot be on this host beside fleet '
                f'"{contents.bundle.fleet_name}" ({contents.bundle.fleet}): '
                f"{'; '.join(found[:MOST_NAMED])}{more}. Change one of the two inventories"
            )


def _collisions(wanted: Bundle, contents: Contents) -> Iterator[str]:
    taken = _names(contents)
    for mine in wanted.interfaces:
        if mine.name in taken:
            yield f"both have an interface {mine.name} (interface)"
    for bundle in _bundles(contents):
        for mine in wanted.interfaces:
            for other in bundle.interfaces:
                yield from _between(mine, other)


def _between(mine: Interface, other: Interface) -> Iterator[str]:
    if mine.listen_port and mine.listen_port == other.listen_port:
        yield f"both listen on UDP port {mine.listen_port} (listen_port)"
    if mine.netns != other.netns:
        return
    routed, theirs = _routes(mine), _routes(other)
    if any(not net.prefixlen for net in routed) and any(not net.prefixlen for net in theirs):
        yield "both send everything that has no other way through their tunnel, and a host has one way out"
    for net in sorted(set(routed) & set(theirs), key=str):
        if net.prefixlen:
            yield f"both route {net}"
    addresses = {str(ipaddress.ip_interface(address).ip) for address in mine.addresses}
    for address in other.addresses:
        own = ipaddress.ip_interface(address).ip
        if str(own) in addresses and not own.is_link_local:
            yield f"both have the address {own}"
    yield from _drawn_away(mine, theirs, routed)
    yield from _drawn_away(other, routed, theirs)


def _drawn_away(losing: Interface, taking: Iterable[_Network], keeping: Iterable[_Network]) -> Iterator[str]:
    """The narrower routes by which one fleet would take packets for hosts of the other."""
    narrow = _by_length(taking)
    own = _by_length(keeping)
    told: set[_Network] = set()
    for peer in losing.peers:
        for text in peer.addresses:
            address = ipaddress.ip_address(text)
            best = _match(narrow, address)
            if best is None or best in told:
                continue
            kept = _match(own, address)
            if kept is not None and best.prefixlen > kept.prefixlen:
                told.add(best)
                yield f"the route to {best} of one takes what is for {peer.name} ({address}) of the other"


_Lengths = dict[tuple[int, int], set[int]]


def _by_length(networks: Iterable[_Network]) -> _Lengths:
    """Network numbers by IP version and prefix length: a look-up costs as much as there are lengths."""
    found: _Lengths = defaultdict(set)
    for network in networks:
        found[network.version, network.prefixlen].add(int(network.network_address))
    return found


def _match(lengths: _Lengths, address: _Address) -> Optional[_Network]:
    """The narrowest network that has the address."""
    kind = ipaddress.IPv4Network if address.version == 4 else ipaddress.IPv6Network
    for version, length in sorted(lengths, reverse=True):
        if version == address.version:
            shift = address.max_prefixlen - length
            number = int(address) >> shift << shift
            if number in lengths[version, length]:
                return kind((number, length))
    return None


def _routes(interface: Interface) -> list[_Network]:
    return [ipaddress.ip_network(route.destination) for route in interface.routes]


def _rules(bundle: Bundle) -> list[egress.Rule]:
    return [rule for interface in bundle.interfaces for rule in egress.rules(interface)]


def _names(contents: Contents) -> set[str]:
    """The interfaces that a fleet has, or had and may still have."""
    named = {interface.name for bundle in _bundles(contents) for interface in bundle.interfaces}
    return named | {place.interface for place in contents.interfaces}


def _bundles(contents: Contents) -> list[Bundle]:
    """What a fleet wants, and what it wanted as long as the host is not brought to that in full."""
    before = None if contents.finished else contents.previous
    return [bundle for bundle in (contents.bundle, before) if bundle is not None]
