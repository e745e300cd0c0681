"""What fits the ways to an interface's peers."""

from __future__ import annotations

from typing import Optional

import pytest

from agent.host.mtu import fitting
from agent.report import ObservedInterface, ObservedPeer
from tests.agent.samples import interface, key, peer

SOMEWHERE_V4, SOMEWHERE_V6 = "192.0.2.1", "2001:db8::1"


def fit(
    ways: dict[str, Optional[int]], *endpoints: Optional[str], addresses: tuple[str, ...] = ("10.0.0.1/32",)
) -> int:
    """The MTU with a peer for each endpoint, and one that the bundle does not place."""
    peers = [peer(2, endpoint=None), *(peer(n, endpoint=f"name{n}:5") for n in range(3, 3 + len(endpoints)))]
    roamed = ObservedPeer(key(2), endpoint="203.0.113.1:5" if "203.0.113.1" in ways else None)
    seen = [ObservedPeer(key(n), endpoint=endpoint) for n, endpoint in enumerate(endpoints, 3)]
    actual = ObservedInterface("wg0", "kernel", True, 1420, peers=(roamed, *seen))
    wanted = interface(mtu=None, fwmark=7, peers=peers, addresses=addresses)

    def way(address: str, mark: int) -> Optional[int]:
        assert mark == 7
        return ways[address]

    return fitting(wanted, actual, way)


@pytest.mark.parametrize(
    ("ways", "endpoints", "mtu"),
    [
        ({"198.51.100.1": 1500}, ["198.51.100.1:5"], 1440),
        ({"2001:db8::2": 1500}, ["[2001:db8::2]:5"], 1420),
        ({"fe80::2": 1500}, ["[fe80::2%3]:5"], 1420),
        ({"198.51.100.1": 1500, "2001:db8::2": 1500}, ["198.51.100.1:5", "[2001:db8::2]:5"], 1420),
        ({"198.51.100.1": 1500, "198.51.100.2": 1440}, ["198.51.100.1:5", "198.51.100.2:5"], 1380),
        ({"203.0.113.1": 1492}, [], 1432),
        ({"203.0.113.1": 1400, "198.51.100.1": 1500}, ["198.51.100.1:5"], 1440),
        ({"198.51.100.1": None, "198.51.100.2": 1440}, ["198.51.100.1:5", "198.51.100.2:5"], 1380),
        ({"198.51.100.1": 9000}, ["198.51.100.1:5"], 8940),
        ({"198.51.100.1": 65536}, ["198.51.100.1:5"], 65455),
        ({"198.51.100.1": 500}, ["198.51.100.1:5"], 576),
    ],
)
def test_the_narrowest_way_counts(ways: dict[str, Optional[int]], endpoints: list[str], mtu: int) -> None:
    assert fit(ways, *endpoints) == mtu


def test_ipv6_needs_its_least() -> None:
    assert fit({"198.51.100.1": 1300}, "198.51.100.1:5") == 1240
    assert fit({"198.51.100.1": 1300}, "198.51.100.1:5", addresses=("10.0.0.1/32", "fd00::1/128")) == 1280


@pytest.mark.parametrize("endpoints", [[], [None], ["198.51.100.1:5"]])
def test_who_calls_nobody_has_the_default_route(endpoints: list[Optional[str]]) -> None:
    nowhere: dict[str, Optional[int]] = {"198.51.100.1": None}
    assert fit({**nowhere, SOMEWHERE_V4: 1492}, *endpoints) == 1412
    assert fit({**nowhere, SOMEWHERE_V4: None, SOMEWHERE_V6: 1480}, *endpoints) == 1400
    assert fit({**nowhere, SOMEWHERE_V4: None, SOMEWHERE_V6: None}, *endpoints) == 1420
