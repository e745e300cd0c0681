"""Handshake messages on their way in: MACs, load, cookies, and what a good one sets in motion.

The way of wg_receive_handshake_packet in receive.c. What has a valid mac1 is queued, and a turn works
off what a loop can afford, so a flood of handshakes holds up no data; the length of the queue tells that
the device is under load. Refuses to know the cryptography. Called by receive and device.
"""

from __future__ import annotations

from agent.wireguard.clock import Time
from agent.wireguard.constants import (
    MAX_QUEUED_HANDSHAKES,
    UNDER_LOAD_FROM,
    UNDER_LOAD_LINGERS,
)
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.handshake import consume_initiation, consume_response, create_response
from agent.wireguard.keypair import Keypair
from agent.wireguard.messages import COOKIE_REPLY, INITIATION, kind, unpack_cookie_reply
from agent.wireguard.output import Datagrams
from agent.wireguard.peer import Peer, Pending
from agent.wireguard.ratelimiter import source_of
from agent.wireguard.send import send_handshake, send_keepalive
from agent.wireguard.state import Queued, State
from agent.wireguard.x25519 import PrivateKey

_TURN = 64
_HANDSHAKE_COST = 16
"""What a turn may cost; a cookie reply costs 1. A handshake takes about as long as this many of them."""


def admit(state: State, message: bytes, source: Endpoint, now: Time) -> None:
    """Takes an initiation, response or cookie reply of the right length."""
    if kind(message) == COOKIE_REPLY:
        _open_cookie_reply(state, message, now)
    elif state.identity is None:
        state.drops["no private key"] += 1
    elif not state.identity.checker.has_mac1(message):
        state.drops["mac1 wrong"] += 1
    elif len(state.queue) >= MAX_QUEUED_HANDSHAKES:
        state.drops["too many handshakes"] += 1
    else:
        state.queue.append(Queued(message, source))


def work_off(state: State, now: Time) -> None:
    """Goes on with the queue until it is empty or the turn's budget is used up."""
    budget = _TURN
    while state.queue and budget > 0:
        is_loaded = _is_under_load(state, now.monotonic)
        message, source = state.queue.popleft()
        budget -= _handle(state, message, source, is_loaded, now)


def _is_under_load(state: State, now: float) -> bool:
    if len(state.queue) >= UNDER_LOAD_FROM:
        state.loaded_until = now + UNDER_LOAD_LINGERS
    return now < state.loaded_until


def _handle(state: State, message: bytes, source: Endpoint, is_loaded: bool, now: Time) -> int:
    """Handles one message and says what that cost."""
    identity = state.identity
    if identity is None:
        state.drops["no private key"] += 1
        return 1
    if is_loaded:
        checker = identity.checker
        if not checker.has_mac2(message, source, now.monotonic):
            state.drops["cookie asked for"] += 1
            reply = checker.reply(message, source, now.monotonic)
            state.emit(Datagrams(source.as_answer(), 0, 1, len(reply), (reply,)))
            return 1
        if not state.handshake_limiter.allows(source_of(source.ip), now.monotonic):
            state.drops["source over its rate"] += 1
            return 1
    if kind(message) == INITIATION:
        _answer_initiation(state, identity.static, message, source, now)
    else:
        _take_response(state, message, source, now)
    return _HANDSHAKE_COST


def _answer_initiation(state: State, static: PrivateKey, message: bytes, source: Endpoint, now: Time) -> None:
    call = consume_initiation(state, static, message, now)
    if call is None:
        return
    peer = call.peer
    _note_authentic(peer, message, source, now)
    send_handshake(state, peer, source, create_response(state, call, now), now)
    peer.timers.session_derived(now.monotonic)
    state.schedule.note(peer.timers, peer)


def _take_response(state: State, message: bytes, source: Endpoint, now: Time) -> None:
    peer = consume_response(state, message, now)
    if peer is None:
        return
    _note_authentic(peer, message, source, now)
    peer.timers.session_derived(now.monotonic)
    peer.timers.handshake_completed()
    peer.latest_handshake = now.wall
    send_keepalive(state, peer, now)
    state.schedule.note(peer.timers, peer)


def _note_authentic(peer: Peer, message: bytes, source: Endpoint, now: Time) -> None:
    peer.endpoint = source
    peer.rx_bytes += len(message)
    peer.timers.authenticated_received(now.monotonic, peer.persistent_keepalive)


def _open_cookie_reply(state: State, message: bytes, now: Time) -> None:
    reply = unpack_cookie_reply(message)
    entry = state.indices.get(reply.receiver)
    if not isinstance(entry, (Pending, Keypair)):
        state.drops["cookie reply to nothing"] += 1
    elif not entry.peer.cookies.open(reply, now.monotonic):
        state.drops["cookie reply not authentic"] += 1
