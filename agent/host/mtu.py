"""The MTU that fits the ways to an interface's peers, where a bundle leaves it to the host.

Job: ask for each peer that the bundle says how to call, and take what WireGuard adds off the narrowest way.
Refuses to know how a way is found, and to set anything. Called by host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Optional

from agent.bundle import Interface, split_endpoint
from agent.report import ObservedInterface

Way = Callable[[str, int], Optional[int]]
"""From an address and a mark to the MTU of the way, in bytes; None where there is no way."""

_SOMEWHERE = ("192.0.2.1", "2001:db8::1")
"""Addresses that nobody has (RFC 5737, RFC 3849): the way to them is the default route."""

_USUAL = 1500
_OVERHEAD = {4: 60, 6: 80}
"""IP 20 or 40, UDP 8, WireGuard 32 bytes (whitepaper, section 5.4.6)."""
_LEAST = {4: 576, 6: 1280}
"""What every link must carry (RFC 791, RFC 8200); Linux has no IPv6 on narrower ones."""
_MOST = 65535 - _OVERHEAD[6]


def fitting(wanted: Interface, actual: ObservedInterface, way: Way) -> int:
    """The MTU for `wanted`, by where the peers of the device that is there are called now.

    Who has no peer to call is called by others: then the ways to those that did count, and before any of them
    did, the default route, less the overhead of IPv6. Raises OSError.
    """
    placed = {peer.public_key for peer in wanted.peers if peer.endpoint is not None}
    called = {
        peer.endpoint for peer in actual.peers if peer.endpoint and (not placed or peer.public_key in placed)
    }
    addresses = sorted({split_endpoint(endpoint)[0].partition("%")[0] for endpoint in called})
    ways = [(way(address, wanted.fwmark), _version(address)) for address in addresses]
    room = [mtu - _OVERHEAD[version] for mtu, version in ways if mtu is not None]
    if not room:
        room = [_default(way, wanted.fwmark) - _OVERHEAD[6]]
    versions = (_version(address.partition("/")[0]) for address in wanted.addresses)
    least = _LEAST[max(versions, default=4)]
    return max(least, min(_MOST, *room))


def _default(way: Way, mark: int) -> int:
    found: Iterable[Optional[int]] = (way(address, mark) for address in _SOMEWHERE)
    return next((mtu for mtu in found if mtu is not None), _USUAL)


def _version(address: str) -> int:
    return ipaddress.ip_address(address).version
