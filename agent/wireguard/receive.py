"""From datagrams to packets: decrypting, the replay window, roaming, and whose a packet may be.

The way of receive.c. Data messages are taken in groups of one keypair; handshake messages go to admit.
Called by device.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Optional

from cryptography.exceptions import InvalidTag

from agent.wireguard.admit import admit, work_off
from agent.wireguard.clock import Time
from agent.wireguard.constants import REJECT_AFTER_MESSAGES, REKEY_ON_RECEIVE_AFTER_TIME
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.keypair import Keypair
from agent.wireguard.messages import DATA, DATA_HEADER_SIZE, MIN_DATA_SIZE, kind, unpack_data_header
from agent.wireguard.packet import CONGESTION, ECN_MASK, with_congestion
from agent.wireguard.peer import Peer
from agent.wireguard.send import initiate, transmit
from agent.wireguard.state import State

_Message = tuple[int, bytes, Endpoint, int]  # counter, datagram, source, TOS
_nonce = struct.Struct("<IQ").pack


def receive(state: State, datagrams: Iterable[tuple[bytes, Endpoint, int]], now: Time) -> None:
    """Datagrams from the network, data first: a handshake may end the session that data belongs to."""
    groups: dict[int, list[_Message]] = {}
    for data, source, tos in datagrams:
        if len(data) >= MIN_DATA_SIZE:
            number, index, counter = unpack_data_header(data)
            if number == DATA:
                message = (counter, data, source, tos)
                if index in groups:
                    groups[index].append(message)
                else:
                    groups[index] = [message]
                continue
            if kind(data):
                admit(state, data, source, now)
                continue
        state.drops["not a message"] += 1
    for index, messages in groups.items():
        _receive_data(state, index, messages, now)
    if state.queue:
        work_off(state, now)


def _receive_data(state: State, index: int, messages: list[_Message], now: Time) -> None:
    """Messages to one of our indices."""
    keypair = state.indices.get(index)
    if not isinstance(keypair, Keypair):
        state.drops["data of unknown session"] += len(messages)
        return
    if now.monotonic >= keypair.receives_until:
        state.drops["session too old"] += len(messages)
        return
    opened, source = _open(state, keypair, messages)
    if source is None:
        return
    peer = keypair.peer
    peer.endpoint = source
    if keypair is peer.keypairs.next:
        _confirm(state, peer, now)
    if now.monotonic >= keypair.born + REKEY_ON_RECEIVE_AFTER_TIME:
        _keep_key_fresh(state, peer, now)
    has_data = _deliver(state, peer, opened)
    timers = peer.timers
    timers.authenticated_received(now.monotonic, peer.persistent_keepalive)
    if has_data:
        timers.data_received(now.monotonic)
    state.schedule.note(timers, peer)


def _open(
    state: State, keypair: Keypair, messages: list[_Message]
) -> tuple[list[tuple[bytes, int]], Optional[Endpoint]]:
    """Plaintexts with the outer TOS, of authentic new messages only, and where the last one came from."""
    decrypt = keypair.opener.decrypt
    accept = keypair.replay.accept
    opened: list[tuple[bytes, int]] = []
    last: Optional[Endpoint] = None
    for counter, data, source, tos in messages:
        if counter >= REJECT_AFTER_MESSAGES:
            state.drops["counter beyond the limit"] += 1
            continue
        try:
            packet = decrypt(_nonce(0, counter), data[DATA_HEADER_SIZE:], None)
        except InvalidTag:
            state.drops["data not authentic"] += 1
            continue
        if not accept(counter):
            state.drops["data replayed"] += 1
            continue
        opened.append((packet, tos))
        last = source
    return opened, last


def _confirm(state: State, peer: Peer, now: Time) -> None:
    """The peer uses the session that we answered with: so may we."""
    peer.keypairs.confirm()
    peer.timers.handshake_completed()
    peer.latest_handshake = now.wall
    transmit(state, peer, [], now)


def _keep_key_fresh(state: State, peer: Peer, now: Time) -> None:
    """A session of ours that only receives is renewed once before it ends."""
    keypair = peer.keypairs.current
    if (
        keypair is not None
        and keypair.is_initiator
        and not peer.timers.sent_last_minute_handshake
        and keypair.born + REKEY_ON_RECEIVE_AFTER_TIME <= now.monotonic < keypair.sends_until
    ):
        peer.timers.sent_last_minute_handshake = True
        initiate(state, peer, now)


def _deliver(state: State, peer: Peer, opened: list[tuple[bytes, int]]) -> bool:
    """Gives the TUN the packets that this peer may send; whether there was more than keepalives."""
    lookup4, lookup6 = state.allowed_ips.lookup4, state.allowed_ips.lookup6
    packets: list[bytes] = []
    received = 0
    has_data = False
    for plain, tos in opened:
        size = len(plain)
        if not size:
            received += MIN_DATA_SIZE
            continue
        has_data = True
        family = plain[0] >> 4 if size >= 20 else 0
        if family == 4:
            length = plain[2] << 8 | plain[3]
            owner = lookup4(plain[12:16])
        elif family == 6 and size >= 40:
            length = (plain[4] << 8 | plain[5]) + 40
            owner = lookup6(plain[8:24])
        else:
            state.drops["received packet is not IP"] += 1
            continue
        if not 20 <= length <= size:
            state.drops["inner length is false"] += 1
            continue
        if owner is not peer:
            state.drops["inner source not allowed"] += 1
            continue
        received += size + MIN_DATA_SIZE
        packet = plain if length == size else plain[:length]
        packets.append(with_congestion(packet) if tos & ECN_MASK == CONGESTION else packet)
    if packets:
        state.deliver(packets)
    peer.rx_bytes += received
    return has_data
