"""Netlink's route family, as much of it as a tunnel needs: sockets, requests and attributes.

Called by routes and link, which know what messages mean. Source: linux/netlink.h, linux/rtnetlink.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_REQUEST, _ACK = 0x1, 0x4
_MOST_AT_ONCE = 64
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr


def connect(groups: int = 0) -> socket.socket:
    """A socket that does not block and hears what is told to `groups`, a set of bits."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    sock.bind((0, groups))
    return sock


def request(kind: int, body: bytes, acknowledged: bool = False) -> bytes:
    """A message to the kernel; `acknowledged`, it is answered with a struct nlmsgerr in any case."""
    flags = _REQUEST | (_ACK if acknowledged else 0)
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """Filled up to whole words, which its length does not count."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and value of each."""
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[max(_ATTRIBUTE.size, (length + 3) & ~3) :]


def drain(sock: socket.socket) -> None:
    """Reads what waits, unseen: a good deal of it, so that a storm of changes holds up nothing else.

    More than the socket could hold is no error: something was told.
    """
    for _ in range(_MOST_AT_ONCE):
        try:
            sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
