"""Sets and tables of IP prefixes, exact: what is joined or cut covers the same addresses as before.

Job: the arithmetic behind AllowedIPs and routes, on plain integers because a fleet of a thousand hosts
has millions of entries. Refuses to know hosts; an owner is any string. Called by `fleet.topology.tables`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from fleet.inventory.model import Address, Network


class Prefix(NamedTuple):
    """`bits` is 32 or 128, `start` the first address as a number. Sorts IPv4 first, then by address."""

    bits: int
    start: int
    length: int

    @property
    def parent(self) -> Prefix:
        """The prefix that is one bit shorter."""
        span = self.bits - self.length + 1
        return Prefix(self.bits, self.start >> span << span, self.length - 1)

    @property
    def sibling(self) -> Prefix:
        """The other half of the parent."""
        return Prefix(self.bits, self.start ^ (1 << (self.bits - self.length)), self.length)

    def covers(self, other: Prefix) -> bool:
        """Whether every address of `other` is in this one too."""
        return (
            self.bits == other.bits
            and self.length <= other.length
            and (self.start ^ other.start) >> (self.bits - self.length) == 0
        )


def of_network(network: Network) -> Prefix:
    """A network as a prefix."""
    return Prefix(network.max_prefixlen, int(network.network_address), network.prefixlen)


def of_address(address: Address) -> Prefix:
    """One address as a prefix."""
    return Prefix(address.max_prefixlen, int(address), address.max_prefixlen)


@lru_cache(maxsize=1 << 17)
def text(prefix: Prefix) -> str:
    """`10.1.0.0/16`, `fd77::/48`."""
    kind = IPv4Network if prefix.bits == 32 else IPv6Network
    return str(kind((prefix.start, prefix.length)))


def union(prefixes: Iterable[Prefix]) -> list[Prefix]:
    """The fewest prefixes that cover the same addresses, in order."""
    kept: list[Prefix] = []
    for prefix in sorted(set(prefixes)):
        if kept and kept[-1].covers(prefix):
            continue
        kept.append(prefix)
        while len(kept) > 1 and kept[-1].length == kept[-2].length > 0 and kept[-1].sibling == kept[-2]:
            kept[-2:] = [kept[-1].parent]
    return kept


def aggregate(table: Mapping[Prefix, str], nested: bool = True) -> dict[Prefix, str]:
    """A longest-prefix-match table with fewer entries that answers the same for every address.

    Halves with one owner are joined unless their parent is an entry already; an entry is left out
    where the next shorter one that covers it has the same owner. Where no entry covers another,
    `nested` False saves that search.
    """
    joined = dict(table)
    by_owner: defaultdict[tuple[str, int], list[Prefix]] = defaultdict(list)
    for prefix, owner in table.items():
        by_owner[owner, prefix.bits].append(prefix)
    for (owner, _), prefixes in by_owner.items():
        if len(prefixes) > 1:
            _join(joined, owner, prefixes)
    return _without_repetition(joined) if nested else joined


def _join(table: dict[Prefix, str], owner: str, prefixes: Iterable[Prefix]) -> None:
    by_length: defaultdict[int, set[Prefix]] = defaultdict(set)
    for prefix in prefixes:
        by_length[prefix.length].add(prefix)
    for length in range(max(by_length), 0, -1):
        for prefix in sorted(by_length[length]):
            parent = prefix.parent
            if prefix in table and table.get(prefix.sibling) == owner and parent not in table:
                del table[prefix], table[prefix.sibling]
                table[parent] = owner
                by_length[length - 1].add(parent)


def _without_repetition(table: Mapping[Prefix, str]) -> dict[Prefix, str]:
    kept: dict[Prefix, str] = {}
    covering: list[Prefix] = []
    for prefix in sorted(table):
        while covering and not covering[-1].covers(prefix):
            covering.pop()
        if not covering or kept[covering[-1]] != table[prefix]:
            kept[prefix] = table[prefix]
            covering.append(prefix)
    return kept


def carve(table: Mapping[Prefix, str], holes: Iterable[Prefix]) -> dict[Prefix, str]:
    """The table without the addresses in `holes`; entries more specific than a hole stay."""
    left = dict(table)
    for hole in sorted(holes, key=lambda hole: hole.length):
        prefix = hole
        pieces: list[Prefix] = []
        while True:
            if prefix in left:
                owner = left.pop(prefix)
                for piece in pieces:
                    left.setdefault(piece, owner)
            if prefix.length == 0:
                break
            pieces.append(prefix.sibling)
            prefix = prefix.parent
    return left
