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
from functools import cache
from typing import NamedTuple, Optional

ACK = 0x10
ECE = 0x40
_FIN, _PSH = 0x01, 0x08
TCP = 6
_DF = 0x40  # of the byte with the flags of IPv4

# include/uapi/linux/virtio_net.h; in the byte order of the machine
_VIRTIO = struct.Struct("=BBHHHH")
_NEEDS_CSUM = 1
_GSO = {20: 1, 40: 4}  # TCPV4, TCPV6; by where TCP begins
_CHECKSUM_OFFSET = 16

_LONGEST_PACKET = 65535
_MOST_SEGMENTS = 1023  # IOV_MAX (include/uapi/linux/uio.h) less the buffer with the headers

_LOW_5760, _LOW_2880, _LOW_1440 = (1 << 5760) - 1, (1 << 2880) - 1, (1 << 1440) - 1

_from_bytes = int.from_bytes


class _Layout(NamedTuple):
    """Where fields are in headers that are one integer: how many bits are below them.

    `size` is the length that the IP header says; `identification` and `ip_checksum` are IPv4's. `fixed` has a
    bit set for all but the TCP checksum.
    """

    size: int
    identification: int
    ip_checksum: int
    sequence: int
    flags: int
    checksum: int
    fixed: int


@cache  # no more than there are lengths of TCP headers
def _layout(at: int, length: int) -> _Layout:
    """Of headers of `length` bytes, of which TCP has those from `at` on."""
    below = 8 * (length - at)
    checksum = below - 8 * (_CHECKSUM_OFFSET + 2)
    return _Layout(
        size=8 * (length - 4 if at == 20 else length - 6),
        identification=8 * (length - 6),
        ip_checksum=8 * (length - 12),
        sequence=below - 8 * 8,
        flags=below - 8 * 14,
        checksum=checksum,
        fixed=(1 << 8 * length) - 1 - (0xFFFF << checksum),
    )


class Run:
    """Two segments or more, if made by `begin`. `buffers`: what to write, after `finish`."""

    __slots__ = (
        "_at",
        "_expected",
        "_first",
        "_fixed",
        "_headers",
        "_layout",
        "_length",
        "_missing",
        "_most",
        "_residue",
        "_size",
        "_step",
        "buffers",
    )

    def __init__(self, first: bytes, at: int, is_verified: bool, id_rises: bool) -> None:
        self._first, self._at, self._size = first, at, len(first)
        self._length = length = at + (first[at + 12] >> 2 & 60)
        payload = len(first) - length
        self._most = min(_MOST_SEGMENTS, (_LONGEST_PACKET - length) // payload)
        self._layout = layout = _layout(at, length)
        self._fixed = layout.fixed
        self._step = payload << layout.sequence
        if id_rises:
            self._step += (1 << layout.identification) - (1 << layout.ip_checksum)
        header = _from_bytes(first[:length], "big")
        self._expected = header + self._step
        self._residue = None if is_verified else _residue_of(first, at)
        self._headers = [header]
        self._missing = 0
        self.buffers = [b"", first[length:]]

    @classmethod
    def begin(cls, first: bytes, second: bytes, at: int, is_verified: bool) -> Optional[Run]:
        """A run of these two, if they can be one.

        `first` is not a fragment, has a TCP header at `at` (20: IPv4 without options, 40: IPv6) that says ACK
        and perhaps ECE, and nothing else, and is longer than two headers can be.

        Where packets must not be fragmented, some senders give all of them one IPv4 id (RFC 6864, 4.1). The
        kernel would number them, so that they are merged only if they end here, where no one sees it.
        """
        if not _is_sound(first, at):
            return None
        id_rises = at == 20 and first[4:6] != second[4:6]
        if at == 20 and not id_rises and not (is_verified and first[6] == _DF):
            return None
        run = cls(first, at, is_verified, id_rises)
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
        missing = self._size - len(packet)
        if missing < 0 or len(packet) <= self._length:
            return False
        differs = (header ^ self._longer(self._expected, -missing)) & self._fixed
        if differs & ~((_PSH | _FIN) << self._layout.flags):
            return False
        if self._residue is not None and not _is_right(packet, self._at, _residue_of(packet, self._at)):
            return False
        self._headers.append(header)
        self.buffers.append(packet[self._length :])
        self._missing = missing
        self._expected = 0
        return True

    def finish(self) -> None:
        """Makes the packet: its headers become the first of `buffers`."""
        at, length, layout, first = self._at, self._length, self._layout, self._headers[0]
        payload = self._size - length
        more = payload * (len(self._headers) - 1) - self._missing
        header = self._longer(first & self._fixed, more)
        header |= self._headers[-1] & (_PSH | _FIN) << layout.flags
        if self._residue is None:
            checksum = self._merged_checksum(header, more)
            virtio = _VIRTIO.pack(0, _GSO[at], length, payload, 0, 0)
        else:
            addresses = self._first[12:20] if at == 20 else self._first[8:40]
            checksum = (_from_bytes(addresses, "big") + TCP + self._size - at + more) % 65535
            virtio = _VIRTIO.pack(_NEEDS_CSUM, _GSO[at], length, payload, at, _CHECKSUM_OFFSET)
        self.buffers[0] = virtio + (header + (checksum << layout.checksum)).to_bytes(length, "big")

    def _longer(self, header: int, more: int) -> int:
        """The headers of a packet that is `more` bytes longer, as far as IP is concerned."""
        layout = self._layout
        header += more << layout.size
        if self._at == 20:
            checksum = header >> layout.ip_checksum & 0xFFFF
            header += (checksum - more) % 65535 - checksum << layout.ip_checksum
        return header

    def _merged_checksum(self, header: int, more: int) -> int:
        """The checksum of the whole, whose headers are `header`, `more` bytes longer than the first segment.

        Without a look at the payloads: the words of each are what its segment's headers, which have its
        checksum, lack to 0. If one checksum is wrong, so is this.
        """
        headers, missing = self._headers, self._missing
        if self._at == 40:
            missing = more = 0  # as _pseudo has it
        pseudo = _pseudo(self._first, self._at)
        lacking = sum(headers) + pseudo * len(headers) - missing
        if (self._size - self._length) % 2:  # then every other payload begins with the lower byte of a word
            swapped = headers[1::2]
            lacking += 255 * (sum(swapped) + pseudo * len(swapped) - (0 if len(headers) % 2 else missing))
        return (lacking - header - pseudo - more) % 65535


def _is_sound(packet: bytes, at: int) -> bool:
    """Whether the length and the checksum of the IP header are right, and the TCP header is all there."""
    if packet[at + 12] < 0x50:
        return False
    if at == 40:
        return (packet[4] << 8 | packet[5]) + 40 == len(packet)
    return (
        (packet[2] << 8 | packet[3]) == len(packet)
        and packet[10:12] != b"\xff\xff"
        and not _from_bytes(packet[:20], "big") % 65535
    )


def _pseudo(packet: bytes, at: int) -> int:
    """What the words of a packet lack, or have too many, for a TCP checksum.

    A right IPv4 header comes to 0, and nothing of the pseudo-header is in it. An IPv6 header has the
    addresses and the length in it, and its other words too many.
    """
    if at == 20:
        return _from_bytes(packet[12:20], "big") + TCP + len(packet) - at
    return TCP - _from_bytes(packet[:4], "big") - (packet[6] << 8 | packet[7])


def _residue_of(packet: bytes, at: int) -> int:
    """What the words of this packet come to, each with its bytes swapped, if its checksum is right."""
    return -_pseudo(packet, at) * 256 % 65535


def _is_right(packet: bytes, at: int, residue: int) -> bool:
    """Whether the kernel would compute the checksum that the packet has.

    Dividing takes longest, so the number is folded first, where its halves meet in a packet of 1440 bytes.
    """
    number = _from_bytes(packet, "little")
    number = (number >> 5760) + (number & _LOW_5760)
    number = (number >> 2880) + (number & _LOW_2880)
    number = (number >> 1440) + (number & _LOW_1440)
    return number % 65535 == residue and packet[at + 16 : at + 18] != b"\xff\xff"
