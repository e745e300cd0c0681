"""Handing out addresses from the pools: the lowest that is free, once and for good. Pure.

Called by `fleet.desired`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fleet.errors import Finding, FindingsError
from fleet.inventory.model import Address, Inventory, Network
from fleet.state.memory import HostRecord


class Allocator:
    """Gives each address once; `taken` ones and those in `subnets` never."""

    def __init__(
        self, pools: Iterable[Network], taken: Iterable[Address], subnets: Iterable[Network]
    ) -> None:
        self._taken = set(taken)
        self._subnets = list(subnets)
        pools = list(pools)
        self._free = {
            version: self._walk([pool for pool in pools if pool.version == version]) for version in (4, 6)
        }

    def next(self, version: int) -> Address | None:
        """The lowest free address of an IP version, None where none is left."""
        return next(self._free[version], None)

    def _walk(self, pools: list[Network]) -> Iterator[Address]:
        for pool in pools:
            subnets = [net for net in self._subnets if net.version == pool.version and net.overlaps(pool)]
            first, last = usable(pool)
            number = first
            while number <= last:
                address = type(pool.network_address)(number)
                inside = next((subnet for subnet in subnets if address in subnet), None)
                if inside is not None:
                    number = int(inside.broadcast_address) + 1
                    continue
                number += 1
                if address not in self._taken:
                    self._taken.add(address)
                    yield address


def usable(pool: Network) -> tuple[int, int]:
    """The first and the last address, as numbers, that a host may have.

    Not an IPv4 network's own and broadcast address (RFC 919; /31 has neither, RFC 3021), nor an IPv6
    subnet's router anycast address (RFC 4291, section 2.6.1; /127 has none, RFC 6164).
    """
    first, last = int(pool.network_address), int(pool.broadcast_address)
    if pool.max_prefixlen - pool.prefixlen < 2:
        return first, last
    return first + 1, last - 1 if pool.version == 4 else last


def assign(inventory: Inventory, records: Mapping[str, HostRecord]) -> dict[str, tuple[Address, ...]]:
    """The addresses of every host in the inventory or in `records`.

    Those set by hand win in their family. Otherwise a host has one of each family that has a pool: the
    one that it has, as long as a pool has it, or the lowest that is free. Hosts that left the inventory
    keep theirs unless somebody sets them by hand for another. Raises FindingsError where that cannot be.
    """
    owners = _set_by_hand(inventory)
    kept: dict[str, dict[int, tuple[Address, ...]]] = {}
    findings = []
    for name, host in inventory.hosts.items():
        kept[name] = {}
        for version in (4, 6):
            chosen = tuple(address for address in host.addresses if address.version == version)
            if not chosen and name in records:
                chosen = _still_good(records[name], version, inventory.pools)
            for address in chosen:
                other = owners.setdefault(address, name)
                if other != name:
                    findings.append(_conflict(inventory, address, other, name))
            if chosen:
                kept[name][version] = chosen
    if findings:
        raise FindingsError(findings)
    retired = {
        name: tuple(address for address in record.addresses if owners.get(address, name) == name)
        for name, record in records.items()
        if name not in inventory.hosts
    }
    taken = {*owners, *(address for addresses in retired.values() for address in addresses)}
    subnets = [subnet for host in inventory.hosts.values() for subnet in host.subnets]
    allocator = Allocator(inventory.pools, taken, subnets)
    return retired | {name: _complete(inventory, name, kept[name], allocator) for name in inventory.hosts}


def _set_by_hand(inventory: Inventory) -> dict[Address, str]:
    owners: dict[Address, str] = {}
    for name, host in inventory.hosts.items():
        for address in host.addresses:
            if owners.setdefault(address, name) != name:
                raise FindingsError([_conflict(inventory, address, name, owners[address])])
    return owners


def _still_good(record: HostRecord, version: int, pools: Iterable[Network]) -> tuple[Address, ...]:
    """The one address of a version that a host goes on having, if any."""
    return tuple(
        address
        for address in record.addresses
        if address.version == version and any(address in pool for pool in pools)
    )[:1]


def _complete(
    inventory: Inventory, name: str, kept: Mapping[int, tuple[Address, ...]], allocator: Allocator
) -> tuple[Address, ...]:
    found: list[Address] = []
    for version in (4, 6):
        if version in kept:
            found += kept[version]
        elif any(pool.version == version for pool in inventory.pools):
            address = allocator.next(version)
            if address is None:
                raise FindingsError([_used_up(inventory, name, version)])
            found.append(address)
    if not found:
        message = f"{name} has no address: add a pool to fleet.pools, or set its fleet_addresses"
        raise FindingsError([Finding(inventory.hosts[name].where, message)])
    return tuple(found)


def _conflict(inventory: Inventory, address: Address, setter: str, holder: str) -> Finding:
    return Finding(
        inventory.hosts[setter].place("fleet_addresses"),
        f"fleet_addresses: {address} of {setter} is the address that {holder} has; choose another, or move "
        f"{holder} first by setting its fleet_addresses",
    )


def _used_up(inventory: Inventory, name: str, version: int) -> Finding:
    pools = ", ".join(str(pool) for pool in inventory.pools if pool.version == version)
    return Finding(
        inventory.places.get("pools", inventory.where),
        f"fleet.pools: no address is left for {name} in {pools} (who left keeps its own); add a pool",
    )
