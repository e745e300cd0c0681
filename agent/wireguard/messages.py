"""The four messages as bytes (whitepaper 5.4.2, 5.4.3, 5.4.6, 5.4.7). Integers are little-endian.

Refuses to know what the fields mean. Called by handshake, cookie, receive and send.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

INITIATION = 1
RESPONSE = 2
COOKIE_REPLY = 3
DATA = 4

INITIATION_SIZE = 148
RESPONSE_SIZE = 92
COOKIE_REPLY_SIZE = 64
DATA_HEADER_SIZE = 16
MIN_DATA_SIZE = 32
MAC_SIZE = 16
MACS_SIZE = 2 * MAC_SIZE

_SIZES = {INITIATION: INITIATION_SIZE, RESPONSE: RESPONSE_SIZE, COOKIE_REPLY: COOKIE_REPLY_SIZE}
_INITIATION = struct.Struct("<II32s48s28s")
_RESPONSE = struct.Struct("<III32s16s")
_COOKIE_REPLY = struct.Struct("<II24s32s")

unpack_data_header = struct.Struct("<IIQ").unpack_from
"""Type with the reserved bytes, receiver index, counter; of 16 bytes at least."""


class Initiation(NamedTuple):
    """The first message without its MACs."""

    sender: int
    ephemeral: bytes
    static: bytes
    timestamp: bytes

    def pack(self) -> bytes:
        return _INITIATION.pack(INITIATION, *self)


class Response(NamedTuple):
    """The second message without its MACs."""

    sender: int
    receiver: int
    ephemeral: bytes
    nothing: bytes

    def pack(self) -> bytes:
        return _RESPONSE.pack(RESPONSE, *self)


class CookieReply(NamedTuple):
    """The answer of a device under load."""

    receiver: int
    nonce: bytes
    cookie: bytes

    def pack(self) -> bytes:
        return _COOKIE_REPLY.pack(COOKIE_REPLY, *self)


def kind(data: bytes) -> int:
    """The type of a handshake message or cookie reply, 0 where it has not the length for that.

    Reserved bytes count as part of the type: they are zeros, or it is unknown.
    """
    number = int.from_bytes(data[:4], "little")
    return number if _SIZES.get(number) == len(data) else 0


def sender_of(data: bytes) -> int:
    """The sender index of an initiation or response."""
    return int.from_bytes(data[4:8], "little")


def unpack_initiation(data: bytes) -> Initiation:
    return Initiation(*_INITIATION.unpack_from(data)[1:])


def unpack_response(data: bytes) -> Response:
    return Response(*_RESPONSE.unpack_from(data)[1:])


def unpack_cookie_reply(data: bytes) -> CookieReply:
    return CookieReply(*_COOKIE_REPLY.unpack_from(data)[1:])
