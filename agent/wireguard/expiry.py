"""What happens when a peer's timer runs out (timers.c, the wg_expired_ functions). Called by device."""

from __future__ import annotations

from agent.wireguard.clock import Time
from agent.wireguard.constants import MAX_HANDSHAKE_ATTEMPTS
from agent.wireguard.peer import Peer
from agent.wireguard.send import initiate, send_keepalive
from agent.wireguard.state import State
from agent.wireguard.timers import NEVER


def expire(state: State, peer: Peer, now: Time) -> None:
    """Fires those timers of the peer that are due.

    Where a call was not answered, the way there may be what is wrong: routing chooses it anew.
    """
    timers = peer.timers
    if timers.retransmit <= now.monotonic:
        timers.retransmit = NEVER
        _retransmit(state, peer, now)
    if timers.keepalive <= now.monotonic:
        _keepalive(state, peer, now)
    if timers.new_handshake <= now.monotonic:
        timers.new_handshake = NEVER
        peer.forget_source()
        initiate(state, peer, now)
    if timers.erase <= now.monotonic:
        timers.erase = NEVER
        state.erase_keys(peer)
    if timers.persistent <= now.monotonic:
        timers.persistent = NEVER
        if peer.persistent_keepalive:
            timers.persistent = now.monotonic + peer.persistent_keepalive
            send_keepalive(state, peer, now)
    state.schedule.note(timers, peer)


def _retransmit(state: State, peer: Peer, now: Time) -> None:
    if peer.timers.attempts > MAX_HANDSHAKE_ATTEMPTS:
        state.drop_staged(peer, "handshake given up")
        peer.timers.gave_up(now.monotonic)
        return
    peer.timers.attempts += 1
    peer.forget_source()
    initiate(state, peer, now, is_retry=True)


def _keepalive(state: State, peer: Peer, now: Time) -> None:
    needs_another = peer.timers.needs_another_keepalive
    peer.timers.keepalive = NEVER
    peer.timers.needs_another_keepalive = False
    send_keepalive(state, peer, now)
    if needs_another:
        peer.timers.data_received(now.monotonic)
