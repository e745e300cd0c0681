"""What must hold between hosts: addresses, subnets and endpoints of their own, pools that are large enough.

Pure; the graph is not known here. Called by `read`. Messages name the other party and its line.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from agent.bundle import split_endpoint
from fleet.errors import Finding, Location
from fleet.inventory.model import Address, Host, Inventory, Network
from fleet.inventory.suggest import suggestion


def check(inventory: Inventory) -> Iterator[Finding]:
    """Every finding, in no particular order."""
    yield from _pools(inventory)
    yield from _addresses(inventory)
    yield from _subnets(inventory)
    yield from _endpoints(inventory)
    yield from _masquerade(inventory)
    yield from _egress(inventory)


def capacity(pool: Network) -> int:
    """How many hosts a pool has addresses for.

    All but network and broadcast address (IPv4) or the subnet-router anycast address (IPv6, RFC 4291
    section 2.6.1); of point-to-point prefixes (RFC 3021, RFC 6164) and single addresses, all.
    """
    if pool.max_prefixlen - pool.prefixlen <= 1:
        return pool.num_addresses
    return pool.num_addresses - (2 if pool.version == 4 else 1)


def _pools(inventory: Inventory) -> Iterator[Finding]:
    for index, pool in enumerate(inventory.pools):
        for other, earlier in enumerate(inventory.pools[:index]):
            if pool.version == earlier.version and pool.overlaps(earlier):
                where = _item(inventory.places, "pools", index, inventory.where)
                line = _item(inventory.places, "pools", other, inventory.where).line
                yield Finding(
                    where, f"fleet.pools: {pool} overlaps {earlier} on line {line}; keep one of them"
                )
    for version in (4, 6):
        pools = [pool for pool in inventory.pools if pool.version == version]
        room = sum(map(capacity, pools))
        if pools and room < len(inventory.hosts):
            where = _item(inventory.places, "pools", inventory.pools.index(pools[0]), inventory.where)
            names = ", ".join(map(str, pools))
            message = (
                f"fleet.pools: {names} has {room} addresses for {len(inventory.hosts)} hosts; enlarge it"
            )
            yield Finding(where, message)


def _addresses(inventory: Inventory) -> Iterator[Finding]:
    owners: dict[Address, tuple[Host, Location]] = {}
    for host in inventory.hosts.values():
        for index, address in enumerate(host.addresses):
            where = _item(host.places, "fleet_addresses", index, host.where)
            pool = next((pool for pool in inventory.pools if address in pool), None)
            if pool is None and inventory.pools:
                pools = ", ".join(map(str, inventory.pools))
                message = (
                    f"fleet_addresses: {address} of {host.name} is in none of the fleet's pools ({pools})"
                )
                yield Finding(where, f"{message}; choose one that is, or add a pool")
            elif pool is not None and _reserved(address, pool):
                yield Finding(
                    where, f"fleet_addresses: {address} is reserved in the pool {pool}; choose another"
                )
            if address in owners:
                other, place = owners[address]
                message = f"fleet_addresses: {address} of {host.name} is also that of {other.name}"
                yield Finding(where, f"{message} ({_refer(place, where)}); each host needs its own")
            owners.setdefault(address, (host, where))


def _reserved(address: Address, pool: Network) -> bool:
    if pool.max_prefixlen - pool.prefixlen <= 1:
        return False
    return address == pool.network_address or (pool.version == 4 and address == pool.broadcast_address)


def _subnets(inventory: Inventory) -> Iterator[Finding]:
    """Overlaps. Sorted, a prefix overlaps an earlier one only if one on the stack still encloses it."""
    entries = [
        (subnet, _item(host.places, "fleet_subnets", index, host.where), host)
        for host in inventory.hosts.values()
        for index, subnet in enumerate(host.subnets)
    ]
    for subnet, where, host in entries:
        for pool in inventory.pools:
            if pool.version == subnet.version and pool.overlaps(subnet):
                message = f"fleet_subnets: {subnet} of {host.name} overlaps the fleet's pool {pool}"
                yield Finding(where, f"{message}; pools are for hosts' own addresses only")
    for version in (4, 6):
        same = sorted(
            (entry for entry in entries if entry[0].version == version),
            key=lambda entry: (int(entry[0].network_address), entry[0].prefixlen, entry[1]),
        )
        enclosing: list[tuple[Network, Location, Host]] = []
        for entry in same:
            while enclosing and not entry[0].overlaps(enclosing[-1][0]):
                enclosing.pop()
            if enclosing:
                yield _overlap(enclosing[-1], entry)
            enclosing.append(entry)


def _overlap(one: tuple[Network, Location, Host], two: tuple[Network, Location, Host]) -> Finding:
    first, second = sorted((one, two), key=lambda entry: entry[1])
    message = f"fleet_subnets: {second[0]} of {second[2].name} overlaps {first[0]} of {first[2].name}"
    return Finding(second[1], f"{message} ({_refer(first[1], second[1])}); a prefix has one way to it")


def _endpoints(inventory: Inventory) -> Iterator[Finding]:
    owners: dict[str, Host] = {}
    routed = _Routed(inventory)
    for host in inventory.hosts.values():
        if host.endpoint is None:
            continue
        where = _endpoint_place(host)
        if host.endpoint in owners:
            other = owners[host.endpoint]
            message = f"the endpoint {host.endpoint} of {host.name} is also that of {other.name}"
            refer = _refer(_endpoint_place(other), where)
            cure = "set another fleet_endpoint or fleet_listen_port, or fleet_nat: true"
            yield Finding(where, f"{message} ({refer}); {cure}")
        owners.setdefault(host.endpoint, host)
        outer = _literal(host.endpoint)
        prefix = routed.find(outer) if outer is not None else None
        if prefix is not None:
            message = f"the endpoint {host.endpoint} of {host.name} lies in {prefix}"
            yield Finding(where, f"{message}: the tunnel would swallow its own datagrams")


def _masquerade(inventory: Inventory) -> Iterator[Finding]:
    for host in inventory.hosts.values():
        for index, name in enumerate(host.masquerade):
            where = _item(host.places, "fleet_masquerade", index, host.where)
            if name == host.interface:
                message = (
                    f"fleet_masquerade: {name} of {host.name} leads into the fleet, whose hosts must see"
                )
                yield Finding(where, f"{message} each other's own addresses; name where traffic leaves it")
            elif name in host.masquerade[:index]:
                yield Finding(where, f"fleet_masquerade: {name} occurs twice; keep one of them")


def _egress(inventory: Inventory) -> Iterator[Finding]:
    """Whether there is a link is checked by the topology."""
    for host in inventory.hosts.values():
        if host.egress is None:
            continue
        where = host.place("fleet_egress")
        hub = inventory.hosts.get(host.egress)
        if hub is None:
            cure = suggestion(host.egress, inventory.hosts) or "; name one of the inventory"
            yield Finding(where, f"fleet_egress: no host {host.egress!r}{cure}")
        elif hub is host:
            yield Finding(where, f"fleet_egress: {host.name} cannot go out through itself; name another host")
        elif hub.egress not in (None, hub.name):
            message = f"fleet_egress: {hub.name} itself sends everything through {hub.egress}"
            yield Finding(where, f"{message}; name a host that goes out by itself")


class _Routed:
    """What the fleet routes into its tunnels, to be looked up by address."""

    def __init__(self, inventory: Inventory) -> None:
        self._prefixes: dict[tuple[int, int], dict[int, str]] = {}
        for pool in inventory.pools:
            self._add(pool, f"the fleet's pool {pool}")
        for host in inventory.hosts.values():
            for subnet in host.subnets:
                self._add(subnet, f"{subnet} behind {host.name}")

    def _add(self, prefix: Network, name: str) -> None:
        same_length = self._prefixes.setdefault((prefix.version, prefix.prefixlen), {})
        same_length.setdefault(int(prefix.network_address), name)

    def find(self, address: Address) -> str | None:
        for (version, length), prefixes in self._prefixes.items():
            if version == address.version:
                host_bits = address.max_prefixlen - length
                name = prefixes.get(int(address) >> host_bits << host_bits)
                if name is not None:
                    return name
        return None


def _literal(endpoint: str) -> Address | None:
    try:
        return ip_address(split_endpoint(endpoint)[0])
    except ValueError:
        return None


def _endpoint_place(host: Host) -> Location:
    for name in ("fleet_endpoint", "ansible_ssh_host", "ansible_host"):
        if name in host.places:
            return host.places[name]
    return host.where


def _item(places: dict[str, Location], name: str, index: int, default: Location) -> Location:
    return places.get(f"{name}[{index}]", places.get(name, default))


def _refer(place: Location, seen_from: Location) -> str:
    """Another place, for a reader who is at `seen_from`."""
    return f"line {place.line}" if place.file == seen_from.file else f"{place.file}:{place.line}"
