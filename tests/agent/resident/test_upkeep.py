"""Peers that are called in vain, and MTUs that do not fit any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from agent.operations import SetLink, SetPeer
from agent.report import Observed, ObservedPeer
from agent.resident import upkeep
from agent.resident.health import PeerKey
from agent.resident.upkeep import Seen
from tests.agent.samples import bundle, interface, key, observed, peer

WALL = 1_700_000_000.0
NAME = "oslo.example.net:51820"
WANTED = bundle(1, [interface(peers=(peer(2, endpoint=NAME), peer(3, endpoint=None)))])
TWO, THREE = ("wg0", key(2)), ("wg0", key(3))


def seen(number: int, rx: int, tx: int, handshake: float | None = None) -> ObservedPeer:
    return ObservedPeer(
        key(number), endpoint="192.0.2.9:51820", rx_bytes=rx, tx_bytes=tx, latest_handshake=handshake
    )


def look(
    before: Mapping[PeerKey, Seen], *peers: ObservedPeer, now: float = 0
) -> tuple[dict[PeerKey, Seen], dict[PeerKey, str]]:
    return upkeep.unheard(before, WANTED, observed(WANTED, *peers), now, WALL)


@pytest.mark.parametrize("handshake", [None, WALL - 136])
def test_who_is_sent_to_and_says_nothing_is_asked_for(handshake: float | None) -> None:
    before, wanted = look({}, seen(2, 10, 10, handshake), seen(3, 10, 10))
    assert wanted == {}
    after, wanted = look(before, seen(2, 10, 158, handshake), seen(3, 10, 158), now=30)
    assert wanted == {TWO: NAME}  # of the other, the bundle does not say where it is
    assert after == {TWO: Seen(10, 158, 30)}


@pytest.mark.parametrize(
    "later",
    [
        seen(2, 10, 10, WALL - 500),  # nobody called it
        seen(2, 11, 158, WALL - 500),  # it was heard
        seen(2, 10, 158, WALL - 135),  # its handshake is young
    ],
)
def test_nobody_else_is(later: ObservedPeer) -> None:
    before, _ = look({}, seen(2, 10, 10, WALL - 500))
    assert look(before, later, now=30)[1] == {}


def test_once_a_minute() -> None:
    known, tx, asked = look({}, seen(2, 0, 0))[0], 0, []
    for now in range(30, 301, 30):
        tx += 148
        known, wanted = look(known, seen(2, 0, tx), now=now)
        asked += [now] if wanted else []
    assert asked == [30, 90, 150, 210, 270]


def test_a_peer_that_was_made_anew_is_known_anew() -> None:
    before, _ = look({}, seen(2, 10, 10))
    assert look(before)[0] == {}


def test_who_is_elsewhere_by_now_is_called_there() -> None:
    there = observed(WANTED, seen(2, 0, 1))
    assert list(upkeep.moved(WANTED, there, {TWO: "192.0.2.9:51820"}, WALL)) == []
    assert list(upkeep.moved(WANTED, observed(WANTED), {TWO: "192.0.2.10:51820"}, WALL)) == []
    (step,) = upkeep.moved(WANTED, there, {TWO: "192.0.2.10:51820"}, WALL)
    assert step.operation == SetPeer("wg0", "host2", key(2), endpoint="192.0.2.10:51820")
    assert (step.change.expected, step.change.actual) == ("192.0.2.10:51820", "192.0.2.9:51820")


def test_who_was_heard_before_the_answer_came_stays_where_it_is() -> None:
    there = observed(WANTED, seen(2, 10, 10, WALL - 5))
    assert list(upkeep.moved(WANTED, there, {TWO: "192.0.2.10:51820"}, WALL)) == []


def test_an_mtu_that_is_the_hosts_business_is_made_to_fit() -> None:
    (device,) = observed(bundle(1, [interface()])).interfaces
    there = Observed(tuple(replace(device, name=name, mtu=1420) for name in ("wg0", "wg1")))
    (step,) = upkeep.fitted(there, {"wg0": 1380, "wg2": 1380})
    assert step.operation == SetLink("wg0", mtu=1380)
    assert list(upkeep.fitted(there, {})) == []
