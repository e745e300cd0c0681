"""The state of links, from what was observed over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.report import LinkState, Observed, ObservedPeer
from agent.resident.health import FRESH, PATIENCE, Track, call, follow, follow_all, links, state
from tests.agent.samples import bundle, interface, key, observed, peer

WALL = 1_700_000_000.0
INITIATION, RESPONSE = 148, 92


def seen(rx: int = 0, tx: int = 0, handshake: Optional[float] = None) -> ObservedPeer:
    """A peer; `handshake` in seconds relative to WALL."""
    at = None if handshake is None else WALL + handshake
    return ObservedPeer(key(2), endpoint="192.0.2.2:51820", rx_bytes=rx, tx_bytes=tx, latest_handshake=at)


def after(*observations: tuple[float, ObservedPeer]) -> LinkState:
    """The state after peers were observed at these times (both clocks run alike)."""
    track: Optional[Track] = None
    now = 0.0
    for now, found in observations:
        track = follow(track, found, now, WALL + now)
    return state(track, now)


@pytest.mark.parametrize(
    ("observations", "expected"),
    [
        # nothing was ever said
        ([(0, seen())], "idle"),
        # a session
        ([(0, seen(92, 148, -10))], "up"),
        ([(0, seen(92, 148, -179.5))], "up"),
        # silence after a session
        ([(0, seen(92, 148, -180))], "idle"),
        ([(0, seen(5000, 5000, -10)), (300, seen(5000, 5000, -10))], "idle"),
        # one call only just went out
        ([(0, seen()), (1, seen(0, 148)), (2, seen(0, 148))], "idle"),
        # it has had time to be answered
        ([(0, seen()), (1, seen(0, 148)), (5, seen(0, 148))], "down"),
        ([(0, seen()), (30, seen(0, 148 * 6)), (60, seen(0, 148 * 12))], "down"),
        # it stays so when WireGuard gives up
        ([(0, seen()), (30, seen(0, 148 * 6)), (60, seen(0, 148 * 20)), (9000, seen(0, 148 * 20))], "down"),
        # the agent started while calls went out that nobody ever answered
        ([(0, seen(0, 148 * 4)), (10, seen(0, 148 * 4))], "down"),
        # a session ended, and what was sent during it says nothing
        ([(0, seen(900, 900, -170)), (30, seen(900, 5000, -170)), (60, seen(900, 5000, -170))], "idle"),
        # a session ended, then calls without answers
        (
            [(0, seen(900, 900, -200)), (30, seen(900, 1500, -200)), (60, seen(900, 2000, -200))],
            "down",
        ),
        # an answer
        ([(0, seen()), (30, seen(0, 888)), (60, seen(92, 1000, 55))], "up"),
        # the peer calls too, but does not hear us
        ([(0, seen()), (30, seen(0, 888)), (60, seen(148, 980)), (61, seen(148, 980))], "idle"),
        # a tunnel that was started again counts from zero
        ([(0, seen(9000, 9000, -300)), (30, seen(0, 0)), (60, seen(0, 0))], "idle"),
        # the clock was set back by an hour
        ([(0, seen(92, 148, 3600))], "up"),
    ],
)
def test_states(observations: list[tuple[float, ObservedPeer]], expected: LinkState) -> None:
    assert after(*observations) == expected


def test_a_call_that_was_asked_for_is_unanswered_after_a_while() -> None:
    track = call(follow(None, seen(900, 900, -500), 0, WALL), 0)
    assert state(track, PATIENCE - 1) == "idle"
    track = follow(track, seen(900, 900, -500), PATIENCE, WALL + PATIENCE)
    assert state(track, PATIENCE) == "down"
    assert state(follow(track, seen(992, 1048, 4), 5, WALL + 5), 5) == "up"


def test_calling_a_peer_with_a_session_means_nothing() -> None:
    track = call(follow(None, seen(900, 900, -5), 0, WALL), 0)
    assert state(track, 100) == "up"


def test_links_follow_the_bundle() -> None:
    wanted = bundle(1, [interface(peers=(peer(2), peer(3), peer(4)))])
    found = observed(wanted, seen(10, 20, -30), ObservedPeer(key(4)), ObservedPeer(key(9)))
    tracks = follow_all({}, found, 0, WALL)
    made = links(wanted, found, tracks, 0, WALL)
    assert [(link.host, link.state, link.latest_handshake_seconds) for link in made] == [
        ("host2", "up", 30),
        ("host3", "down", None),  # not on the device
        ("host4", "idle", None),
    ]
    assert (made[0].endpoint, made[0].rx_bytes, made[0].tx_bytes) == ("192.0.2.2:51820", 10, 20)


def test_nobody_is_up_on_an_interface_that_is_down() -> None:
    wanted = bundle()
    found = observed(wanted, seen(10, 20, -30), up=False)
    assert [link.state for link in links(wanted, found, follow_all({}, found, 0, WALL), 0, WALL)] == ["down"]


def test_peers_that_are_gone_are_forgotten() -> None:
    tracks = follow_all({}, observed(bundle(), seen(1, 1, -1)), 0, WALL)
    assert follow_all(tracks, Observed(), 1, WALL) == {}


@dataclass(frozen=True)
class Moment:
    """What happens between two observations."""

    seconds: float
    sent: int
    received: int
    handshake: bool


SECONDS = st.integers(1, 6400).map(lambda number: number / 16)
"""Exact, also when a time of day is added: 180 seconds are never a bit more or less."""
MOMENTS = st.lists(
    st.builds(Moment, SECONDS, st.integers(0, 5000), st.integers(0, 5000), st.booleans()),
    min_size=1,
    max_size=25,
)


@given(MOMENTS)
def test_states_mean_what_they_say(moments: list[Moment]) -> None:
    now, rx, tx = 0.0, 0, 0
    handshake: Optional[float] = None
    track = follow(None, seen(), 0, WALL)
    for moment in moments:
        now += moment.seconds
        tx += moment.sent
        rx += moment.received + (RESPONSE if moment.handshake else 0)
        handshake = now if moment.handshake else handshake
        heard = moment.handshake or moment.received > 0
        track = follow(track, seen(rx, tx, handshake), now, WALL + now)
        found = state(track, now)
        fresh = handshake is not None and now - handshake < FRESH
        assert (found == "up") == fresh
        if heard:
            assert found != "down"
        if tx == 0:
            assert found != "down"
