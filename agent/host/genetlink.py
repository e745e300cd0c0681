"""Generic netlink, as much of it as reading takes: sockets, requests, what comes back, attributes.

Job: word requests and take answers apart. Refuses to know what attributes mean. Called by kernel and dump.
Sources: Linux, include/uapi/linux/netlink.h and genetlink.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple, Union

from agent.tunnel.netlink import HEADER, attribute

DUMP = 0x300
_NETLINK_GENERIC = 16
_REQUEST, _DUMP_INTERRUPTED = 0x1, 0x10
_ERROR, _DONE, _CONTROL = 0x2, 0x3, 0x10
_GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 3, 1, 2
_COMMAND = struct.Struct("=BBH")  # struct genlmsghdr
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_KIND = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""
_NUMBER = struct.Struct("=i")
_MOST_ERRNO = 4095
_U16 = struct.Struct("=H")
_MOST_BYTES = 32 << 10
"""What the kernel makes a part of a dump at most (netlink_recvmsg in net/netlink/af_netlink.c)."""

Buffer = Union[bytes, memoryview]


class Message(NamedTuple):
    """`body` is what follows struct genlmsghdr; the last one of a dump has none."""

    last: bool
    interrupted: bool
    body: Buffer


class Connection:
    """Asks the kernel, in the network namespace of the thread that made it. Methods raise OSError."""

    def __init__(self) -> None:
        self._buffer = bytearray(_MOST_BYTES)
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC)
        try:
            self._socket.connect((0, 0))  # so that nobody but the kernel can send to it
        except OSError:
            self._socket.close()
            raise

    def send(self, data: bytes) -> None:
        self._socket.send(data)

    def receive(self) -> Buffer:
        """What comes next; it is good until more is received."""
        length, _, flags, _ = self._socket.recvmsg_into([self._buffer])
        if length == 0 or flags & socket.MSG_TRUNC:
            raise odd()
        return memoryview(self._buffer)[:length]

    def close(self) -> None:
        self._socket.close()


def request(family: int, flags: int, command: int, version: int, data: bytes) -> bytes:
    """A message to the kernel; `data` is attributes."""
    body = _COMMAND.pack(command, version, 0) + data
    return HEADER.pack(HEADER.size + len(body), family, _REQUEST | flags, 0, 0) + body


def family_request(name: str) -> bytes:
    """Asks for the number of a family; the kernel loads its module if need be."""
    return request(_CONTROL, 0, _GET_FAMILY, 1, text(_FAMILY_NAME, name))


def family_number(data: Buffer) -> int:
    """The answer. Raises OSError: ENOENT where the kernel has no such family, EPROTO."""
    try:
        for message in messages(data, _CONTROL):
            for kind, value in attributes(message.body):
                if kind == _FAMILY_ID:
                    return int(_U16.unpack(value)[0])
    except (struct.error, ValueError) as error:
        raise odd() from error
    raise odd()


def text(kind: int, value: str) -> bytes:
    """An attribute that ends with a zero."""
    return attribute(kind, value.encode() + b"\0")


def messages(data: Buffer, family: int) -> Iterator[Message]:
    """The messages of one datagram, which are all `family`'s.

    Raises OSError with what the kernel refuses something for; ValueError or struct.error for odd ones.
    """
    view = memoryview(data)
    at = 0
    while at < len(view):
        length, kind, flags, _, _ = HEADER.unpack_from(view, at)
        if not HEADER.size <= length <= len(view) - at:
            raise ValueError("a message's length")
        body = view[at + HEADER.size : at + length]
        interrupted = bool(flags & _DUMP_INTERRUPTED)
        if kind == family:
            _COMMAND.unpack_from(body)
            yield Message(False, interrupted, body[_COMMAND.size :])
        elif kind in (_ERROR, _DONE):
            (number,) = _NUMBER.unpack_from(body)
            if number < -_MOST_ERRNO:
                raise ValueError("an errno")
            if number < 0:
                raise OSError(-number, os.strerror(-number))
            yield Message(True, interrupted, b"")
        else:
            raise ValueError("a message's kind")
        at += _aligned(length)


def attributes(data: Buffer) -> Iterator[tuple[int, Buffer]]:
    """Kind and value of each. Raises ValueError or struct.error."""
    at = 0
    while at < len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            raise ValueError("an attribute's length")
        yield kind & _KIND, data[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)


def odd() -> OSError:
    """For an answer that is none."""
    return OSError(errno.EPROTO, os.strerror(errno.EPROTO))


def _aligned(length: int) -> int:
    return (length + 3) & ~3
