"""What changes around a host while its bundle stays: ways to peers get another MTU, names another address.

Job: say which peers are called in vain, and the steps that follow from what is found. A peer that is called
in vain is called next where the bundle says: its name may have moved, or it has come back from where it
roamed to. Pure: the caller brings both clocks and asks the name servers. Called by engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Optional

from agent.bundle import Bundle
from agent.converge.device import fit
from agent.converge.peers import called_at
from agent.operations import Step
from agent.report import Observed, ObservedPeer
from agent.resident.health import PeerKey, age, met

STALE = 135.0
"""Seconds: REKEY_AFTER_TIME, and time for the handshake that is due then (whitepaper, section 6.1)."""
ASK_AGAIN = 60.0
"""Seconds between two questions for one peer."""


@dataclass(frozen=True)
class Seen:
    """A peer's counters when last looked at, and when its name was last asked for (monotonic clock)."""

    rx_bytes: int
    tx_bytes: int
    asked: Optional[float] = None


def unheard(
    seen: Mapping[PeerKey, Seen], bundle: Bundle, observed: Observed, now: float, wall: float
) -> tuple[dict[PeerKey, Seen], dict[PeerKey, str]]:
    """What to remember, and the endpoints to ask for, as the bundle has them, by their peers.

    Those of peers to which we sent something since `seen` and had nothing from, without a young handshake.
    """
    remembered: dict[PeerKey, Seen] = {}
    wanted: dict[PeerKey, str] = {}
    for key, _, peer, after in met(bundle, observed):
        if peer.endpoint is None:
            continue
        before = seen.get(key)
        asked = None if before is None else before.asked
        if before is not None and _in_vain(before, after, wall) and _is_due(asked, now):
            wanted[key], asked = peer.endpoint, now
        remembered[key] = Seen(after.rx_bytes, after.tx_bytes, asked)
    return remembered, wanted


def moved(bundle: Bundle, observed: Observed, answers: Mapping[PeerKey, str], wall: float) -> Iterator[Step]:
    """The steps for peers that are called elsewhere than the bundle says by now, as `answers` have it.

    Who was reached while the name server was asked is where it is called.
    """
    for key, interface, peer, seen in met(bundle, observed):
        if key in answers and seen.endpoint != answers[key] and not _is_young(seen, wall):
            yield called_at(interface.name, peer, answers[key], seen.endpoint)


def fitted(observed: Observed, fitting: Mapping[str, int]) -> Iterator[Step]:
    """The steps for interfaces that have another MTU than fits, which is in `fitting`."""
    for actual in observed.interfaces:
        if actual.name in fitting:
            yield from fit(actual, fitting[actual.name])


def _in_vain(before: Seen, after: ObservedPeer, wall: float) -> bool:
    silent = after.rx_bytes == before.rx_bytes and after.tx_bytes > before.tx_bytes
    return silent and not _is_young(after, wall)


def _is_young(peer: ObservedPeer, wall: float) -> bool:
    """Whether its handshake is."""
    since = age(peer, wall)
    return since is not None and since <= STALE


def _is_due(asked: Optional[float], now: float) -> bool:
    return asked is None or now - asked >= ASK_AGAIN
