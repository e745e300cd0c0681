"""Inner IP packets: their ECN bits and checksums.

Called by send, receive and icmp. Sources: RFC 791, RFC 8200; ECN: RFC 6040, and receive.c, send.c.
"""

from __future__ import annotations

ECN_MASK = 3
CONGESTION = 3

OUTER_ECN = (0, 1, 2, 2)
"""By the inner ECN bits: what the outer header says. Congestion met before the tunnel is not our outer
path's news, so it becomes ECT(0)."""


def ecn(packet: bytes) -> int:
    """The ECN bits of an IPv4 or IPv6 packet."""
    return (packet[1] if packet[0] >> 4 == 4 else packet[1] >> 4) & ECN_MASK


def with_congestion(packet: bytes) -> bytes:
    """The packet with its ECN bits saying congestion, if its ends understand that."""
    if ecn(packet) not in (1, 2):
        return packet
    marked = bytearray(packet)
    if packet[0] >> 4 == 4:
        before = packet[0] << 8 | packet[1]
        marked[1] |= CONGESTION
        after = marked[0] << 8 | marked[1]
        marked[10:12] = _updated(int.from_bytes(packet[10:12], "big"), before, after).to_bytes(2, "big")
    else:
        marked[1] |= CONGESTION << 4
    return bytes(marked)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _updated(former: int, before: int, after: int) -> int:
    """A checksum after one 16-bit word changed (RFC 1624)."""
    total = (~former & 0xFFFF) + (~before & 0xFFFF) + after
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
