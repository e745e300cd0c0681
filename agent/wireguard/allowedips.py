"""Which peer an inner address belongs to: the longest prefix wins.

Job: insert, remove and look up, for IPv4 and IPv6; a prefix has one owner, the newest. Refuses to know
what an owner is. Called by the device for every packet, both ways, so a lookup is one dictionary access
where the address was looked up before, else one for each prefix length in use.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Callable, Generic, Optional, TypeVar, Union

Network = Union[IPv4Network, IPv6Network]
Owner = TypeVar("Owner")


_MOST_REMEMBERED = 4096


class _Answers(dict[bytes, Optional[Owner]]):
    """What lookups found, by address: a device speaks with few addresses most of the time."""

    def __init__(self, look: Callable[[bytes], Optional[Owner]]) -> None:
        self._look = look

    def __missing__(self, address: bytes) -> Optional[Owner]:
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        owner = self[address] = self._look(address)
        return owner


class _Family(Generic[Owner]):
    """The prefixes of one address family of `width` bits."""

    def __init__(self, width: int) -> None:
        self._width = width
        self.answers: _Answers[Owner] = _Answers(self._look)
        self._tables: dict[int, dict[int, Owner]] = {}
        self._order: list[tuple[int, dict[int, Owner]]] = []

    def _look(self, address: bytes) -> Optional[Owner]:
        number = int.from_bytes(address, "big")
        for shift, table in self._order:
            owner = table.get(number >> shift)
            if owner is not None:
                return owner
        return None

    def get(self, network: Network) -> Optional[Owner]:
        shift = self._width - network.prefixlen
        return self._tables.get(shift, {}).get(int(network.network_address) >> shift)

    def put(self, network: Network, owner: Owner) -> None:
        self.answers.clear()
        shift = self._width - network.prefixlen
        if shift not in self._tables:
            self._tables[shift] = {}
            self._order = sorted(self._tables.items())
        self._tables[shift][int(network.network_address) >> shift] = owner

    def delete(self, network: Network) -> None:
        self.answers.clear()
        shift = self._width - network.prefixlen
        table = self._tables[shift]
        del table[int(network.network_address) >> shift]
        if not table:
            del self._tables[shift]
            self._order = sorted(self._tables.items())


class AllowedIPs(Generic[Owner]):
    """A table of prefixes and their owners, who are compared by identity and must be hashable.

    `lookup4` and `lookup6` take an address as 4 or 16 bytes and return its owner or None.
    """

    def __init__(self) -> None:
        self._families: dict[int, _Family[Owner]] = {4: _Family(32), 6: _Family(128)}
        self._owned: dict[Owner, dict[Network, None]] = {}
        self.lookup4: Callable[[bytes], Optional[Owner]] = self._families[4].answers.__getitem__
        self.lookup6: Callable[[bytes], Optional[Owner]] = self._families[6].answers.__getitem__

    def insert(self, network: Network, owner: Owner) -> None:
        """Gives the prefix to `owner`, taking it from whoever had it."""
        family = self._families[network.version]
        former = family.get(network)
        if former is owner:
            return
        if former is not None:
            self._disown(network, former)
        family.put(network, owner)
        self._owned.setdefault(owner, {})[network] = None

    def remove(self, network: Network, owner: Owner) -> None:
        """Takes exactly this prefix from `owner`; nothing happens where it is not theirs."""
        family = self._families[network.version]
        if family.get(network) is owner:
            family.delete(network)
            self._disown(network, owner)

    def clear(self, owner: Owner) -> None:
        """Takes all prefixes from `owner`."""
        for network in self._owned.pop(owner, {}):
            self._families[network.version].delete(network)

    def of(self, owner: Owner) -> list[Network]:
        """The prefixes of `owner`, masked, in the order in which they came."""
        return list(self._owned.get(owner, {}))

    def _disown(self, network: Network, owner: Owner) -> None:
        owned = self._owned[owner]
        del owned[network]
        if not owned:
            del self._owned[owner]
