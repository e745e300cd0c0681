"""Initiations and responses: made, taken, and turned into keypairs (noise.c).

Job: what a handshake does to a peer and the tables. Refuses to know MACs, load, timers and when a peer
should be called. Called by send (`create_initiation`) and admit (the rest).

An initiation of our own stays pending while we answer one of the peer's: two that cross both succeed.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

from agent.wireguard.clock import Time
from agent.wireguard.constants import INITIATION_INTERVAL, KEY_SIZE
from agent.wireguard.keypair import Keypair
from agent.wireguard.messages import Initiation, Response, unpack_initiation, unpack_response
from agent.wireguard.noise import Initiator, NoiseError, Responder
from agent.wireguard.peer import Peer, Pending
from agent.wireguard.state import State
from agent.wireguard.tai64n import stamp
from agent.wireguard.x25519 import PrivateKey


class Call(NamedTuple):
    """An authentic initiation: who called, their index, and the handshake so far."""

    peer: Peer
    remote_index: int
    responder: Responder


def create_initiation(state: State, peer: Peer, now: Time) -> Optional[bytes]:
    """A new initiation without MACs, instead of the one pending; None: nothing can be agreed on."""
    if state.identity is None:
        return None
    static = state.identity.static
    static_static = peer.static_static(static)
    if static_static is None:
        return None
    state.forget_pending(peer)
    ephemeral = PrivateKey(state.random(KEY_SIZE))
    initiator = Initiator(static, ephemeral, peer.public_key, static_static)
    peer.own_timestamp = stamp(now.wall, peer.own_timestamp)
    parts = initiator.write(peer.own_timestamp)
    index = state.indices.new()
    peer.pending = Pending(peer, index, initiator)
    state.indices.put(index, peer.pending)
    return Initiation(index, *parts).pack()


def consume_initiation(state: State, static: PrivateKey, message: bytes, now: Time) -> Optional[Call]:
    """Checks an initiation to the owner of `static` all through; None: it was dropped and counted."""
    initiation = unpack_initiation(message)
    responder = Responder(static)
    try:
        public_key = responder.read_static(initiation.ephemeral, initiation.static)
        peer = state.peers.get(public_key)
        static_static = peer.static_static(static) if peer is not None else None
        if peer is None or static_static is None:
            state.drops["initiation of unknown peer"] += 1
            return None
        timestamp = responder.read_payload(initiation.timestamp, static_static)
    except NoiseError:
        state.drops["initiation not authentic"] += 1
        return None
    if timestamp <= peer.latest_timestamp:
        state.drops["initiation replayed"] += 1
        return None
    if now.monotonic < peer.last_initiation + INITIATION_INTERVAL:
        state.drops["initiations too fast"] += 1
        return None
    peer.latest_timestamp = timestamp
    peer.last_initiation = now.monotonic
    return Call(peer, initiation.sender, responder)


def create_response(state: State, call: Call, now: Time) -> bytes:
    """The response without MACs; its keypair waits to be confirmed.

    It cannot fail: a point that had something to share with our static key has so with any key.
    """
    peer = call.peer
    ephemeral, nothing, transcript = call.responder.write(
        PrivateKey(state.random(KEY_SIZE)), peer.preshared_key
    )
    index = state.indices.new()
    keypair = Keypair(peer, index, call.remote_index, transcript.split(), False, now.monotonic)
    state.indices.put(index, keypair)
    state.retire(peer.keypairs.add(keypair))
    return Response(index, call.remote_index, ephemeral, nothing).pack()


def consume_response(state: State, message: bytes, now: Time) -> Optional[Peer]:
    """Checks a response; its keypair is the current one then. None: dropped and counted."""
    response = unpack_response(message)
    pending = state.indices.get(response.receiver)
    if not isinstance(pending, Pending):
        state.drops["response to nothing"] += 1
        return None
    peer = pending.peer
    try:
        _, transcript = pending.initiator.read(response.ephemeral, response.nothing, peer.preshared_key)
    except NoiseError:
        state.drops["response not authentic"] += 1
        return None
    keypair = Keypair(peer, pending.local_index, response.sender, transcript.split(), True, now.monotonic)
    peer.pending = None
    state.indices.put(pending.local_index, keypair)
    state.retire(peer.keypairs.add(keypair))
    return peer
