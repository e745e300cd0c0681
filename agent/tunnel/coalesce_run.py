"""A run: consecutive TCP segments of one flow that become one packet, which the kernel cuts up again.

Job: say whether a packet is the next segment of the run, and make one packet of them all. The header of the
next full segment is known beforehand, but for its checksum: the sequence number rises by the payload's
length, the IPv4 id by one (and so the header's checksum falls by one), all else stays. So headers are
compared whole, as integers; where a number overflows into the field before it, the run just ends. What the
kernel makes of it: tcp_gso_segment (net/ipv4/tcp_offload.c), inet_gso_segment (net/ipv4/af_inet.c).

Checksums: all is modulo 65535 (RFC 1071). There 2**16 is 1, so an integer of whole 16-bit words is congruent
to their sum, and 256 swaps the bytes of a word. A segment is right if its words, those of its IP header
included, and what `_pseudo` says for its length come to 0.

Refuses to know of flows and their order. Called by coalesce.
"""

from __future__ import annotations

import struct
from typing import Optional

ACK = 0x10
ECE = 0x40
_FIN, _PSH = 0x01, 0x08
TCP = 6

# include/uapi/linux/virtio_net.h; in the byte order of the machine
_VIRTIO = struct.Struct("=BBHHHH")
_NEEDS_CSUM = 1
_GSO_TCPV4, _GSO_TCPV6 = 1, 4
_CHECKSUM_OFFSET = 16

_LONGEST_PACKET = 65535
_MOST_SEGMENTS = 1023  # IOV_MAX (include/uapi/linux/uio.h) less the buffer with the headers

_LOW_5760, _LOW_2880, _LOW_1440 = (1 << 5760) - 1, (1 << 2880) - 1, (1 << 1440) - 1

_from_bytes = int.from_bytes


class Run:
    """Two segments or more, if made by `begin`. `buffers`: what to write, after `finish`."""

    __slots__ = (
        "_at",
        "_ending",
        "_expected",
        "_first",
        "_fixed",
        "_headers",
        "_length",
        "_missing",
        "_most",
        "_residue",
        "_size",
        "_step",
        "buffers",
    )

    def __init__(self, first: bytes, at: int, is_verified: bool) -> None:
        size, length = len(first), at + (first[at + 12] >> 2 & 60)
        header = _from_bytes(first[:length], "big")
        self._first, self._at, self._size, self._length = first, at, size, length
        self._most = min(_MOST_SEGMENTS, (_LONGEST_PACKET - length) // (size - length))
        self._step = (size - length) << 8 * (length - at - 8)
        if at == 20:
            self._step += (1 << 8 * (length - 6)) - (1 << 8 * (length - 12))
        self._expected = header + self._step
        self._fixed = (1 << 8 * length) - 1 - (0xFFFF << 8 * (length - at - _CHECKSUM_OFFSET - 2))
        self._ending = (_PSH | _FIN) << 8 * (length - at - 14)
        self._residue = None if is_verified else _residue_of(first, at)
        self._headers = [header]
        self._missing = 0
        self.buffers = [b"", first[length:]]

    @classmethod
    def begin(cls, first: bytes, second: bytes, at: int, is_verified: bool) -> Optional[Run]:
        """A run of these two, if they can be one.

        `first` is not a fragment, has a TCP header at `at` (20: IPv4 without options, 40: IPv6) that says ACK
        and perhaps ECE, and nothing else, and is longer than two headers can be.
        """
        if not _is_sound(first, at):
            return None
        run = cls(first, at, is_verified)
        if run._most < 2 or not run.take(second):
            return None
        if run._residue is not None and not _is_right(first, at, run._residue):
            return None
        return run

    def take(self, packet: bytes) -> bool:
        """Takes `packet`, if it is the next segment; one that is shorter, or says PSH or FIN, is the last."""
        length = self._length
        header = _from_bytes(packet[:length], "big")
        if len(packet) != self._size or (header ^ self._expected) & self._fixed:
            return self._take_last(packet, header)
        if self._residue is not None and not _is_right(packet, self._at, self._residue):
            return False
        self._headers.append(header)
        self.buffers.append(packet[length:])
        self._expected = self._expected + self._step if len(self._headers) < self._most else 0
        return True

    def _take_last(self, packet: bytes, header: int) -> bool:
        length, at = self._length, self._at
        missing = self._size - len(packet)
        if missing < 0 or len(packet) <= length or not self._expected:
            return False
        if at == 20:
            expected = self._expected - (missing << 8 * (length - 4)) + (missing << 8 * (length - 12))
        else:
            expected = self._expected - (missing << 8 * (length - 6))
        if (header ^ expected) & self._fixed & ~self._ending:
            return False
        if self._residue is not None and not _is_right(packet, at, _residue_of(packet, at)):
            return False
        self._headers.append(header)
        self.buffers.append(packet[length:])
        self._missing = missing
        self._expected = 0
        return True

    def finish(self) -> None:
        """Makes the packet: its headers become the first of `buffers`."""
        at, length = self._at, self._length
        payload = self._size - length
        size = length + payload * len(self._headers) - self._missing
        header = bytearray(self._first[:length])
        header[at + 13] = self._headers[-1] >> 8 * (length - at - 14) & 0xFF
        header[at + 16 : at + 18] = bytes(2)
        if at == 20:
            header[2:4] = size.to_bytes(2, "big")
            header[10:12] = bytes(2)
            header[10:12] = (-_from_bytes(header[:20], "big") % 65535).to_bytes(2, "big")
        else:
            header[4:6] = (size - 40).to_bytes(2, "big")
        gso_type = _GSO_TCPV4 if at == 20 else _GSO_TCPV6
        if self._residue is None:
            checksum = self._merged_checksum(_from_bytes(header, "big") + _pseudo(self._first, at, size))
            virtio = _VIRTIO.pack(0, gso_type, length, payload, 0, 0)
        else:
            addresses = header[12:20] if at == 20 else header[8:40]
            checksum = (_from_bytes(addresses, "big") + TCP + size - at) % 65535
            virtio = _VIRTIO.pack(_NEEDS_CSUM, gso_type, length, payload, at, _CHECKSUM_OFFSET)
        header[at + 16 : at + 18] = checksum.to_bytes(2, "big")
        self.buffers[0] = virtio + header

    def _merged_checksum(self, merged: int) -> int:
        """The checksum of it all, right if every segment's was; `merged`: of the new headers.

        A payload's sum is what its segment's headers, checksum included, lack to 0.
        """
        headers, missing = self._headers, self._missing if self._at == 20 else 0
        pseudo = _pseudo(self._first, self._at, self._size)
        sums = [sum(part) + pseudo * len(part) for part in (headers[::2], headers[1::2])]
        sums[len(headers) % 2 - 1] -= missing
        is_odd = (self._size - self._length) % 2
        return (sums[0] + sums[1] * (256 if is_odd else 1) - merged) % 65535


def _is_sound(packet: bytes, at: int) -> bool:
    """Whether the length and the checksum of the IP header are right, and the TCP header is all there."""
    if packet[at + 12] < 0x50 or packet[at + 18 : at + 20] != b"\0\0":
        return False
    if at == 40:
        return (packet[4] << 8 | packet[5]) + 40 == len(packet)
    return (
        (packet[2] << 8 | packet[3]) == len(packet)
        and packet[10:12] != b"\xff\xff"
        and not _from_bytes(packet[:20], "big") % 65535
    )


def _pseudo(packet: bytes, at: int, size: int) -> int:
    """What the words of a packet of `size` bytes lack, or have too many, for a TCP checksum.

    A right IPv4 header comes to 0, and of the pseudo-header nothing is in it. An IPv6 header has the
    addresses and the length in it, and its other words too many.
    """
    if at == 20:
        return _from_bytes(packet[12:20], "big") + TCP + size - at
    return TCP - _from_bytes(packet[:4], "big") - (packet[6] << 8 | packet[7])


def _residue_of(packet: bytes, at: int) -> int:
    """What the words of this packet come to, each with its bytes swapped, if its checksum is right."""
    return -_pseudo(packet, at, len(packet)) * 256 % 65535


def _is_right(packet: bytes, at: int, residue: int) -> bool:
    """Whether the kernel would compute the checksum that the packet has.

    Dividing takes longest, so the number is folded first, where its halves meet in a packet of 1440 bytes.
    """
    number = _from_bytes(packet, "little")
    number = (number >> 5760) + (number & _LOW_5760)
    number = (number >> 2880) + (number & _LOW_2880)
    number = (number >> 1440) + (number & _LOW_1440)
    return number % 65535 == residue and packet[at + 16 : at + 18] != b"\xff\xff"
