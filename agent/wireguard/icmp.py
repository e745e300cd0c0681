"""Tells the sender of a packet that no peer can be given it: ICMP(v6) destination unreachable.

The kernel module does the same (device.c wg_xmit): host unreachable (3/1), address unreachable (1/3).
Refuses to know why. Called by send.
"""

from __future__ import annotations

import struct
from typing import Optional

from agent.wireguard.packet import checksum

_ICMP = 1
_ICMPV6 = 58
_HOP_LIMIT = 64
_MOST_BYTES4 = 576  # RFC 1812 4.3.2.3
_MOST_BYTES6 = 1280  # RFC 4443 2.4 (c)
_ERRORS4 = frozenset((3, 4, 5, 11, 12))


def unreachable(packet: bytes) -> Optional[bytes]:
    """The answer to an IPv4 or IPv6 packet whose header is all there, from the address that it was for.

    None where there must be no answer (RFC 1122 3.2.2, RFC 4443 2.4 (e)): to errors, to fragments but
    the first, and for addresses that stand for many or for nobody.
    """
    return _unreachable4(packet) if packet[0] >> 4 == 4 else _unreachable6(packet)


def _unreachable4(packet: bytes) -> Optional[bytes]:
    source, target = packet[12:16], packet[16:20]
    header_size = (packet[0] & 15) * 4
    is_later_fragment = (packet[6] << 8 | packet[7]) & 0x1FFF
    is_error = packet[9] == _ICMP and len(packet) > header_size and packet[header_size] in _ERRORS4
    if is_later_fragment or is_error or not (_is_host4(source) and _is_host4(target)):
        return None
    body = _with_checksum(struct.pack("!BBHI", 3, 1, 0, 0) + packet[: _MOST_BYTES4 - 28], b"")
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0xC0, 20 + len(body), 0, 0, _HOP_LIMIT, _ICMP, 0, target, source
    )
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + body


def _unreachable6(packet: bytes) -> Optional[bytes]:
    source, target = packet[8:24], packet[24:40]
    is_error = packet[6] == _ICMPV6 and len(packet) > 40 and packet[40] < 128
    if is_error or not (_is_host6(source) and _is_host6(target)):
        return None
    body = struct.pack("!BBHI", 1, 3, 0, 0) + packet[: _MOST_BYTES6 - 48]
    pseudo_header = target + source + struct.pack("!II", len(body), _ICMPV6)
    header = struct.pack("!IHBB16s16s", 6 << 28, len(body), _ICMPV6, _HOP_LIMIT, target, source)
    return header + _with_checksum(body, pseudo_header)


def _with_checksum(body: bytes, pseudo_header: bytes) -> bytes:
    return body[:2] + checksum(pseudo_header + body).to_bytes(2, "big") + body[4:]


def _is_host4(address: bytes) -> bool:
    return 0 < address[0] < 224 and address[0] != 127


def _is_host6(address: bytes) -> bool:
    return address[0] != 0xFF and (any(address[:15]) or address[15] > 1)
