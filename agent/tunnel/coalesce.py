"""Packets to the TUN in as few writes as the kernel allows: consecutive TCP segments become one packet.

Job: sort a batch by flows, keep the order in each, begin runs and end them. What of one flow must not be
overtaken by what (a SYN, a fragment, an acknowledgement) is decided here, what is the next segment in
coalesce_run. UDP is left alone: the kernel takes merged UDP only if it may compute the checksums itself, and
verifying each datagram first costs what a write does, but for small ones. Pure. Called by loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

from agent.tunnel.coalesce_run import ACK, ECE, TCP, Run

PLAIN = bytes(10)
"""The virtio header of a packet that is one: nothing to cut, nothing to compute."""

_LONGEST_HEADERS = 100  # IPv6, and TCP with all the options it can have
_ICMPV6, _UDP = 58, 17

_OTHER = 0
_UNCLEAR = -1


def coalesce(packets: Sequence[bytes], is_verified: Callable[[bytes], bool]) -> list[Sequence[bytes]]:
    """What to write to a TUN with IFF_VNET_HDR: for each write its buffers, the first with the virtio header.

    `packets`: whole IP packets of at least 20 bytes, in the order of arrival. What belongs to one flow is
    written in that order. The kernel makes of a merged packet, byte for byte, the segments that went in.

    `is_verified(address)`: whether packets to it (4 or 16 bytes) are delivered on this host, and so pass its
    TCP. Then TCP verifies the merged packet, whose checksum is wrong if that of a segment was (errors in
    several can cancel each other, as several errors in one packet can). Destination NAT verifies too before
    it passes on (net.netfilter.nf_conntrack_checksum). To other addresses the kernel passes packets on with
    checksums that it computes anew, so that no segment is merged before its own was verified here.
    """
    if len(packets) == 1:
        return [(PLAIN, packets[0])]
    writes: list[Sequence[bytes]] = []
    firsts: dict[bytes, int] = {}  # by flow: the write of the packet that began a run, or may
    runs: dict[bytes, Run] = {}
    begun: list[Run] = []
    for packet in packets:
        if not firsts and len(packet) <= _LONGEST_HEADERS:
            writes.append((PLAIN, packet))
            continue
        flow = packet[12:24] if packet[0] == 0x45 else packet[8:44]
        run = runs.get(flow)
        if run is not None and run.take(packet):
            continue
        at = _tcp_at(packet)
        if at == _UNCLEAR:
            firsts.clear()
            runs.clear()
        elif at != _OTHER:
            index = firsts.pop(flow, None)
            if index is not None and runs.pop(flow, None) is None:
                address = packet[16:20] if at == 20 else packet[24:40]
                run = Run.begin(writes[index][1], packet, at, is_verified(address))
                if run is not None:
                    firsts[flow], runs[flow], writes[index] = index, run, run.buffers
                    begun.append(run)
                    continue
            if len(packet) > _LONGEST_HEADERS and packet[at + 13] & ~ECE == ACK:
                firsts[flow] = len(writes)
        writes.append((PLAIN, packet))
    for run in begun:
        run.finish()
    return writes


def _tcp_at(packet: bytes) -> int:
    """Where the TCP header is; _OTHER: not TCP; _UNCLEAR: it may be of any flow."""
    if packet[0] == 0x45:
        if packet[9] != TCP:
            return _OTHER
        at = _UNCLEAR if packet[6] & 0x3F or packet[7] else 20  # a fragment
    elif packet[0] >> 4 == 6 and len(packet) >= 40:
        if packet[6] in (_UDP, _ICMPV6):
            return _OTHER
        at = 40 if packet[6] == TCP else _UNCLEAR  # extension headers
    else:
        at = _UNCLEAR  # IPv4 with options
    return at if len(packet) >= at + 20 else _UNCLEAR
