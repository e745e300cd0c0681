"""How links fare, from what was observed over time. Pure: the caller brings both clocks.

Job: follow each peer's counters from one observation to the next and name the state of its link.
Refuses to observe or to call anybody. Called by engine.

Without a session WireGuard sends nothing but handshake initiations (whitepaper, section 6): once the
last handshake is older than REJECT_AFTER_TIME, bytes that were sent are calls, and bytes that were
received are answers or calls of the peer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Optional

from agent.bundle import Bundle, Interface, Peer
from agent.report import Link, LinkState, Observed, ObservedPeer

FRESH = 180.0
"""REJECT_AFTER_TIME in seconds (whitepaper, section 6.1): a younger handshake means a session."""
PATIENCE = 3.0
"""Seconds that a call may take to be answered."""

PeerKey = tuple[str, str]
"""Interface name and public key."""


@dataclass(frozen=True)
class Track:
    """A peer's counters when it last gave a sign of life, and since when our calls get no answer.

    `fresh` tells whether there was a session then; `unanswered` is a time of the monotonic clock.
    """

    rx_bytes: int
    tx_bytes: int
    latest_handshake: Optional[float]
    fresh: bool
    unanswered: Optional[float] = None


def age(peer: ObservedPeer, wall: float) -> Optional[float]:
    """Seconds since the last handshake; None where there was none; never negative, clocks are set back."""
    return None if peer.latest_handshake is None else max(0.0, wall - peer.latest_handshake)


def is_fresh(peer: ObservedPeer, wall: float) -> bool:
    """Whether there is a session."""
    since = age(peer, wall)
    return since is not None and since < FRESH


def follow(track: Optional[Track], peer: ObservedPeer, now: float, wall: float) -> Track:
    """The track after one more observation, at `now` of the monotonic and `wall` of the wall clock."""
    fresh = is_fresh(peer, wall)
    if fresh:
        return Track(peer.rx_bytes, peer.tx_bytes, peer.latest_handshake, fresh)
    if track is None or peer.tx_bytes < track.tx_bytes or peer.rx_bytes < track.rx_bytes:
        # A device that we do not know yet: only if nobody ever answered it, what it sent were calls.
        silent = peer.latest_handshake is None and peer.rx_bytes == 0
        called = silent and peer.tx_bytes > 0
        return Track(peer.rx_bytes, peer.tx_bytes, peer.latest_handshake, fresh, now if called else None)
    answered = peer.rx_bytes > track.rx_bytes or peer.latest_handshake != track.latest_handshake
    if answered or track.fresh:
        return Track(peer.rx_bytes, peer.tx_bytes, peer.latest_handshake, fresh)
    if peer.tx_bytes > track.tx_bytes and track.unanswered is None:
        return replace(track, unanswered=now)
    return track


def call(track: Track, now: float) -> Track:
    """The track of a peer that is being called now."""
    if track.fresh or track.unanswered is not None:
        return track
    return replace(track, unanswered=now)


def state(track: Optional[Track], now: float) -> LinkState:
    """up: there is a session; down: no answer to our calls, or no such peer on the device; idle: the rest."""
    if track is None:
        return "down"
    if track.fresh:
        return "up"
    if track.unanswered is not None and now - track.unanswered >= PATIENCE:
        return "down"
    return "idle"


def peers_of(observed: Observed) -> dict[PeerKey, ObservedPeer]:
    """Every peer of every interface that is up."""
    return {
        (interface.name, peer.public_key): peer
        for interface in observed.interfaces
        if interface.up
        for peer in interface.peers
    }


def met(bundle: Bundle, observed: Observed) -> Iterator[tuple[PeerKey, Interface, Peer, ObservedPeer]]:
    """The peers of the bundle that a device has, in the bundle's order."""
    present = peers_of(observed)
    for interface in bundle.interfaces:
        for peer in interface.peers:
            key = (interface.name, peer.public_key)
            if key in present:
                yield key, interface, peer, present[key]


def follow_all(
    tracks: Mapping[PeerKey, Track], observed: Observed, now: float, wall: float
) -> dict[PeerKey, Track]:
    """The tracks of all peers there are now; those of others are forgotten."""
    return {key: follow(tracks.get(key), peer, now, wall) for key, peer in peers_of(observed).items()}


def links(
    bundle: Bundle, observed: Observed, tracks: Mapping[PeerKey, Track], now: float, wall: float
) -> tuple[Link, ...]:
    """A link for each peer that the bundle names, in its order."""
    peers = peers_of(observed)
    found = []
    for interface in bundle.interfaces:
        for peer in interface.peers:
            key = (interface.name, peer.public_key)
            seen = peers.get(key, ObservedPeer(peer.public_key))
            since = age(seen, wall)
            found.append(
                Link(
                    interface=interface.name,
                    host=peer.name,
                    state=state(tracks.get(key), now),
                    latest_handshake_seconds=None if since is None else int(since),
                    endpoint=seen.endpoint,
                    rx_bytes=seen.rx_bytes,
                    tx_bytes=seen.tx_bytes,
                )
            )
    return tuple(found)
