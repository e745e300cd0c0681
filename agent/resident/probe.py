"""Calling peers that WireGuard has no reason to call: one small packet to each makes it shake hands.

Job: choose whom to call and where (pure), send the packets. Refuses to wait for answers and to judge
them. Called by engine.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Container, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Optional

from agent.bundle import Bundle
from agent.netns import within
from agent.report import Observed
from agent.resident.health import PeerKey, is_fresh, met

_DISCARD = 9
"""RFC 863: nobody answers there, and nobody has to."""


@dataclass(frozen=True)
class Call:
    """Whom to call, the overlay address behind which the peer sits, and the namespace of our interface."""

    peer: PeerKey
    address: str
    netns: Optional[str] = None


def calls(
    bundle: Bundle, observed: Observed, wall: float, shaken: Container[PeerKey] = frozenset()
) -> tuple[Call, ...]:
    """The peers without a session, and those `shaken`, that we can call.

    They have an endpoint and an address of their own.
    """
    return tuple(
        Call(key, peer.addresses[0], interface.netns)
        for key, interface, peer, seen in met(bundle, observed)
        if seen.endpoint is not None and peer.addresses and (key in shaken or not is_fresh(seen, wall))
    )


def send(chosen: Iterable[Call]) -> tuple[PeerKey, ...]:
    """Sends one packet a call, through its interface whatever the routes say; returns those that went out."""
    found = list(chosen)
    sent: list[PeerKey] = []
    for netns in dict.fromkeys(call.netns for call in found):
        here = [call for call in found if call.netns == netns]
        with contextlib.suppress(OSError):
            sent += within(netns, partial(_send, here))
    return tuple(sent)


def _send(chosen: Iterable[Call]) -> list[PeerKey]:
    sent = []
    for call in chosen:
        family = socket.AF_INET6 if ":" in call.address else socket.AF_INET
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        with contextlib.suppress(OSError), socket.socket(family, kind) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, call.peer[0].encode() + b"\0")
            sock.sendto(b"\0", (call.address, _DISCARD))
            sent.append(call.peer)
    return sent
