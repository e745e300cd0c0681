"""Which addresses a lab takes, and which it refuses."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.lab.ranges import ALLOWED, Taken, refusal


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.31.255.1",
        "192.168.1.1",
        "192.0.2.9",
        "198.51.100.9",
        "203.0.113.9",
        "198.19.0.1",
        "100.64.0.1",
        "fd00::1",
        "fc00::1",
        "2001:db8::1",
        "3fff::1",
    ],
)
def test_ranges_that_belong_to_nobody(address: str) -> None:
    assert refusal(ip_address(address), []) is None


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "172.32.0.1",
        "11.0.0.1",
        "192.0.3.1",
        "127.0.0.1",
        "169.254.1.1",
        "224.0.0.1",
        "0.0.0.0",
        "2606:4700::1111",
        "::1",
        "fe80::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "2001:db9::1",
    ],
)
def test_ranges_that_may_belong_to_somebody(address: str) -> None:
    reason = refusal(ip_address(address), [])
    assert reason is not None
    assert reason.startswith(f"{ip_address(address)} may belong to somebody")


@given(st.ip_addresses())
def test_only_the_ranges_named_are_taken(address: object) -> None:
    one = ip_address(str(address))
    inside = any(one in network for network in ALLOWED if network.version == one.version)
    assert (refusal(one, []) is None) == inside


def test_what_this_machine_uses_is_named() -> None:
    taken = [
        Taken(ip_network("fd00::/64"), "address fd00::2 of eth0"),
        Taken(ip_network("203.0.113.0/24"), "route 203.0.113.0/24 dev eth0"),
    ]
    reason = refusal(ip_address("203.0.113.7"), taken)
    assert reason == (
        "203.0.113.7 is in use on this machine (route 203.0.113.0/24 dev eth0): choose another address"
    )
    assert refusal(ip_address("203.0.112.7"), taken) != reason
    assert refusal(ip_address("198.51.100.7"), taken) is None
    assert "fd00::2 of eth0" in (refusal(ip_address("fd00::9"), taken) or "")
