"""From packets to datagrams: whose a packet is, encrypting, staging, keepalives, calling a peer.

The way of wg_xmit in device.c, and send.c. Refuses to know what comes in. Called by device, receive,
handshake and expiry.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Optional

from agent.wireguard import icmp
from agent.wireguard.clock import Time
from agent.wireguard.constants import (
    HANDSHAKE_TOS,
    MAX_STAGED_PACKETS,
    PADDING_MULTIPLE,
    REJECT_AFTER_MESSAGES,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME,
    REKEY_TIMEOUT,
)
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.handshake import create_initiation
from agent.wireguard.keypair import Keypair
from agent.wireguard.messages import DATA_HEADER_SIZE
from agent.wireguard.output import MOST_BYTES_IN_A_ROW, MOST_IN_A_ROW, Datagrams
from agent.wireguard.packet import OUTER_ECN
from agent.wireguard.peer import Peer
from agent.wireguard.ratelimiter import source_of
from agent.wireguard.state import State
from agent.wireguard.timers import NEVER

_KEEPALIVE = b""
_ZEROS = bytes(PADDING_MULTIPLE)
_nonce = struct.Struct("<IQ").pack
_header = struct.Struct("<8sQ").pack
_datagrams = partial(tuple.__new__, Datagrams)
"""Their constructor would be one more Python function to run for each packet on a quiet tunnel."""


def send(state: State, packets: Iterable[bytes], now: Time) -> None:
    """Packets from the TUN, each to the peer that its destination belongs to."""
    groups: dict[Peer, list[bytes]] = {}
    lookup4, lookup6 = state.allowed_ips.lookup4, state.allowed_ips.lookup6
    for packet in packets:
        family = packet[0] >> 4 if len(packet) >= 20 else 0
        if family == 4:
            peer = lookup4(packet[16:20])
        elif family == 6 and len(packet) >= 40:
            peer = lookup6(packet[24:40])
        else:
            state.drops["sent packet is not IP"] += 1
            continue
        if peer is None or peer.endpoint is None:
            state.drops["no peer for destination" if peer is None else "peer without endpoint"] += 1
            _answer_unreachable(state, packet, now)
        elif peer in groups:
            groups[peer].append(packet)
        else:
            groups[peer] = [packet]
    for peer, group in groups.items():
        transmit(state, peer, group, now)


def transmit(state: State, peer: Peer, packets: Sequence[bytes], now: Time) -> None:
    """Sends what is staged and then `packets`; without a session all of it is staged, and one asked for."""
    if peer.staged:
        packets = [*peer.staged, *packets]
        peer.staged.clear()
    if not packets:
        return
    keypair = peer.keypairs.current
    endpoint = peer.endpoint
    if keypair is not None and now.monotonic < keypair.sends_until and endpoint is not None:
        room = REJECT_AFTER_MESSAGES - keypair.counter
        if len(packets) <= room:
            _encrypt(state, keypair, endpoint, packets, now)
            return
        if room:
            _encrypt(state, keypair, endpoint, packets[:room], now)
        packets = packets[room:]
    _stage(state, peer, packets)
    initiate(state, peer, now)


def send_keepalive(state: State, peer: Peer, now: Time) -> None:
    """What is staged is as good as a keepalive (send.c wg_packet_send_keepalive)."""
    transmit(state, peer, [] if peer.staged else [_KEEPALIVE], now)


def initiate(state: State, peer: Peer, now: Time, is_retry: bool = False) -> None:
    """Calls the peer now; later, if a handshake message was sent to it a moment ago."""
    timers = peer.timers
    if not is_retry:
        timers.attempts = 0
    endpoint = peer.endpoint
    if endpoint is None:
        return
    if now.monotonic >= peer.last_handshake_sent + REKEY_TIMEOUT:
        message = create_initiation(state, peer, now)
        if message is None:
            state.drops["initiation impossible"] += 1
            return
        send_handshake(state, peer, endpoint, message, now)
        timers.handshake_initiated(now.monotonic)
    elif timers.retransmit == NEVER:
        timers.handshake_initiated(now.monotonic)
    state.schedule.note(timers, peer)


def send_handshake(state: State, peer: Peer, endpoint: Endpoint, message: bytes, now: Time) -> None:
    """Signs an initiation or response and sends it to where the peer is."""
    peer.last_handshake_sent = now.monotonic
    signed = peer.cookies.sign(message, now.monotonic)
    peer.timers.authenticated_sent(now.monotonic, peer.persistent_keepalive)
    peer.tx_bytes += len(signed)
    state.emit(Datagrams(endpoint, HANDSHAKE_TOS, 1, len(signed), (signed,)))


def _stage(state: State, peer: Peer, packets: Sequence[bytes]) -> None:
    surplus = len(packets) - MAX_STAGED_PACKETS
    if surplus > 0:
        state.drops["too many staged packets"] += surplus
        packets = packets[surplus:]
    peer.staged.extend(packets)


def _encrypt(state: State, keypair: Keypair, endpoint: Endpoint, packets: Sequence[bytes], now: Time) -> None:
    """One data message a packet, in rows; timers as after the last of them.

    `room` is how many more messages may follow in a row: none after a shorter one, and none, or less, after
    one that is too long for any datagram. Counters are used up first, whatever comes of the rows.
    """
    peer = keypair.peer
    prefix, encrypt, counter = keypair.prefix, keypair.sealer.encrypt, keypair.counter
    keypair.counter = counter + len(packets)
    mtu = state.mtu
    parts: list[bytes] = []
    tos = longest = room = total = 0
    has_data = False
    for packet in packets:
        size = len(packet)
        ecn = 0
        if size:
            has_data = True
            octet = packet[1]
            ecn = OUTER_ECN[(octet if packet[0] < 0x60 else octet >> 4) & 3]
            if size != mtu and (size & PADDING_MULTIPLE - 1 or size > mtu):
                packet += _ZEROS[: padding(size, mtu)]  # noqa: PLW2901
        sealed = encrypt(_nonce(0, counter), packet, None)
        size = len(sealed)
        if room > 0 and size <= longest and ecn == tos:
            room = room - 1 if size == longest else 0
        else:
            if parts:
                state.emit(_datagrams((endpoint, tos, len(parts) // 2, DATA_HEADER_SIZE + longest, parts)))
            tos, longest, parts = ecn, size, []
            room = min(MOST_IN_A_ROW, MOST_BYTES_IN_A_ROW // (DATA_HEADER_SIZE + size)) - 1
        parts += _header(prefix, counter), sealed
        counter += 1
        total += size
    state.emit(_datagrams((endpoint, tos, len(parts) // 2, DATA_HEADER_SIZE + longest, parts)))
    peer.tx_bytes += total + DATA_HEADER_SIZE * len(packets)
    timers = peer.timers
    timers.authenticated_sent(now.monotonic, peer.persistent_keepalive)
    if has_data:
        timers.data_sent(now.monotonic)
    state.schedule.note(timers, peer)
    if counter > REKEY_AFTER_MESSAGES or (
        keypair.is_initiator and now.monotonic >= keypair.born + REKEY_AFTER_TIME
    ):
        initiate(state, peer, now)


def padding(size: int, mtu: int) -> int:
    """How many zeros follow a packet of `size` bytes (send.c calculate_skb_padding).

    Packets over the MTU, which may just have shrunk, are padded as what goes beyond it would be.
    """
    if size > mtu:
        size %= mtu
    return min(-size % PADDING_MULTIPLE, mtu - size)


def _answer_unreachable(state: State, packet: bytes, now: Time) -> None:
    source = packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]
    if state.unreachable_limiter.allows(source_of(source), now.monotonic):
        answer: Optional[bytes] = icmp.unreachable(packet)
        if answer is not None:
            state.deliver((answer,))
