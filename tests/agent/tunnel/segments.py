"""Packets to merge, and what the kernel makes of merged ones: plain, slow, written from the RFCs.

Called by the tests of coalesce, here and in the lab.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass

ACK, FIN, SYN, RST, PSH, URG, ECE, CWR = 0x10, 0x01, 0x02, 0x04, 0x08, 0x20, 0x40, 0x80
TIMESTAMPS = bytes.fromhex("0101080a0000007b000001c8")
NEEDS_CSUM, TCPV4, TCPV6 = 1, 1, 4


@dataclass(frozen=True)
class Segment:
    """A TCP segment in an IP packet; `checksum_error` is added to its TCP checksum."""

    source: str = "10.0.0.1"
    destination: str = "10.0.0.2"
    ports: tuple[int, int] = (40000, 5201)
    sequence: int = 1000
    ack: int = 77
    flags: int = ACK
    window: int = 500
    urgent: int = 0
    options: bytes = TIMESTAMPS
    payload: bytes = b""
    identification: int = 7
    fragment: int = 0x4000
    hop_limit: int = 64
    tos: int = 0
    label: int = 0
    checksum_error: int = 0
    ip_checksum_error: int = 0

    def packed(self) -> bytes:
        """The whole IP packet."""
        source, destination = ipaddress.ip_address(self.source), ipaddress.ip_address(self.destination)
        words = 5 + len(self.options) // 4
        tcp = struct.pack(
            "!HHIIBBHHH",
            *self.ports,
            self.sequence % (1 << 32),
            self.ack,
            words << 4,
            self.flags,
            self.window,
            0,
            self.urgent,
        )
        tcp += self.options + self.payload
        pseudo = source.packed + destination.packed + struct.pack("!II", len(tcp), 6)
        error = self.checksum_error
        tcp = tcp[:16] + _with_error(internet_checksum(pseudo + tcp), error) + tcp[18:]
        if source.version == 6:
            first = 6 << 28 | self.tos << 20 | self.label
            return struct.pack("!IHBB", first, len(tcp), 6, self.hop_limit) + pseudo[:32] + tcp
        ip = struct.pack(
            "!BBHHHBBH",
            0x45,
            self.tos,
            20 + len(tcp),
            self.identification % (1 << 16),
            self.fragment,
            self.hop_limit,
            6,
            0,
        )
        ip += pseudo[:8]
        return ip[:10] + _with_error(internet_checksum(ip), self.ip_checksum_error) + ip[12:] + tcp


def internet_checksum(data: bytes) -> int:
    """RFC 1071, word by word."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _with_error(checksum: int, error: int) -> bytes:
    return ((checksum + error) % 0xFFFF if error else checksum).to_bytes(2, "big")


@dataclass(frozen=True)
class Cut:
    """What the kernel makes of one write. `is_right`: whether the TCP of this host takes it."""

    segments: list[bytes]
    is_right: bool = True


def cut(buffers: Sequence[bytes]) -> Cut:
    """As virtio_net_hdr_to_skb and tcp_gso_segment do; asserts what they demand."""
    assert len(buffers) <= 1024
    joined = b"".join(buffers)
    virtio, packet = joined[:10], joined[10:]
    assert len(packet) <= 65535
    flags, gso_type, header_length, gso_size, start, offset = struct.unpack("=BBHHHH", virtio)
    if gso_type == 0:
        assert virtio == bytes(10)
        return Cut([packet])
    at = {TCPV4: 20, TCPV6: 40}[gso_type]
    assert packet[0] >> 4 == (4 if at == 20 else 6)
    assert header_length == at + (packet[at + 12] >> 4) * 4
    header, payload = packet[:header_length], packet[header_length:]
    assert 0 < gso_size < len(payload)
    if at == 20:
        assert internet_checksum(header[:20]) == 0
        assert int.from_bytes(header[2:4], "big") == len(packet)
        addresses = packet[12:20]
    else:
        assert int.from_bytes(header[4:6], "big") == len(packet) - 40
        addresses = packet[8:40]
    segments = []
    for begin in range(0, len(payload), gso_size):
        piece = payload[begin : begin + gso_size]
        segments.append(
            _segment(header, at, begin, begin // gso_size, begin + gso_size >= len(payload), piece)
        )
    addresses = packet[12:20] if at == 20 else packet[8:40]
    pseudo = addresses + struct.pack("!II", len(packet) - at, 6)
    if flags == NEEDS_CSUM:
        assert (start, offset) == (at, 16)
        expected = ~internet_checksum(pseudo) & 0xFFFF
        assert int.from_bytes(header[at + 16 : at + 18], "big") % 0xFFFF == expected % 0xFFFF
        return Cut(segments)
    assert (flags, start, offset) == (0, 0, 0)
    return Cut(segments, internet_checksum(pseudo + packet[at:]) == 0)


def _segment(header: bytes, at: int, offset: int, index: int, is_last: bool, payload: bytes) -> bytes:
    new = bytearray(header)
    sequence = int.from_bytes(header[at + 4 : at + 8], "big") + offset
    new[at + 4 : at + 8] = (sequence % (1 << 32)).to_bytes(4, "big")
    if not is_last:
        new[at + 13] &= ~(FIN | PSH) & 0xFF
    if index:
        new[at + 13] &= ~CWR & 0xFF
    size = len(header) + len(payload)
    if at == 20:
        new[2:4] = size.to_bytes(2, "big")
        new[4:6] = ((int.from_bytes(header[4:6], "big") + index) % (1 << 16)).to_bytes(2, "big")
        new[10:12] = bytes(2)
        new[10:12] = internet_checksum(bytes(new[:20])).to_bytes(2, "big")
        addresses = header[12:20]
    else:
        new[4:6] = (size - 40).to_bytes(2, "big")
        addresses = header[8:40]
    new[at + 16 : at + 18] = bytes(2)
    pseudo = addresses + struct.pack("!II", size - at, 6)
    new[at + 16 : at + 18] = internet_checksum(pseudo + bytes(new[at:]) + payload).to_bytes(2, "big")
    return bytes(new) + payload
