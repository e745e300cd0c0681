"""Which addresses a lab may take: ranges that belong to nobody, minus what this machine uses.

Pure: what the machine uses is an argument. Called by `layout`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from fleet.inventory.model import Address, Network

# RFC 1918, 6598, 2544, 5737; RFC 4193, 3849, 9637
ALLOWED: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "198.18.0.0/15",
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "fc00::/7",
        "2001:db8::/32",
        "3fff::/20",
    )
)
ADVICE = "a lab takes private (10.0.0.0/8, fd00::/8 ...) and documentation ranges (203.0.113.0/24 ...) only"


@dataclass(frozen=True)
class Taken:
    """A network that this machine uses, and the words for it: `route 192.0.2.0/24 dev eth0`."""

    network: Network
    what: str


def refusal(address: Address, taken: Iterable[Taken]) -> str | None:
    """Why a lab may not give `address` to a host; None where it may."""
    if not any(_within(address, network) for network in ALLOWED):
        return f"{address} may belong to somebody: {ADVICE}"
    for use in taken:
        if _within(address, use.network):
            return f"{address} is in use on this machine ({use.what}): choose another address"
    return None


def _within(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network
