"""Whom a probe calls."""

from __future__ import annotations

import pytest

from agent.report import ObservedPeer
from agent.resident.probe import Call, calls, send
from tests.agent.samples import bundle, interface, key, observed, peer

WALL = 1_700_000_000.0


def seen(number: int, endpoint: str | None = "192.0.2.9:51820", age: float | None = None) -> ObservedPeer:
    return ObservedPeer(key(number), endpoint=endpoint, latest_handshake=None if age is None else WALL - age)


@pytest.mark.parametrize("addresses", [(), ("10.77.0.2",), ("fd77::2", "10.77.0.2")])
def test_the_first_of_its_addresses_is_called(addresses: tuple[str, ...]) -> None:
    """Whatever else goes to it: a hub may have the pools alone in its AllowedIPs."""
    wanted = bundle(1, [interface(peers=(peer(2, addresses=addresses, allowed_ips=("10.77.0.0/16",)),))])
    expected = tuple(Call(("wg0", key(2)), address) for address in addresses[:1])
    assert calls(wanted, observed(wanted, seen(2)), WALL) == expected


def test_who_is_shaken_is_called_although_there_is_a_session() -> None:
    wanted = bundle(1, [interface(peers=[peer(2), peer(3)])])
    found = observed(wanted, seen(2, age=10), seen(3, age=10))
    assert [call.address for call in calls(wanted, found, WALL, {("wg0", key(3))})] == ["10.77.0.3"]


def test_only_those_without_a_session_that_can_be_called() -> None:
    wanted = bundle(1, [interface(peers=[peer(n) for n in range(2, 7)])])
    found = observed(wanted, seen(2, age=10), seen(3, age=181), seen(4, endpoint=None), seen(5))
    assert [call.address for call in calls(wanted, found, WALL)] == ["10.77.0.3", "10.77.0.5"]


def test_an_interface_that_is_down_calls_nobody() -> None:
    assert calls(bundle(), observed(bundle(), seen(2), up=False), WALL) == ()


def test_what_could_not_be_sent_was_not_called() -> None:
    assert send([Call(("no-such-device0", key(2)), "192.0.2.1")]) == ()
