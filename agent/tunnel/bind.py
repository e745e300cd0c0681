"""UDP sockets, bound: one port for IPv4 and, where there is IPv6, for that as well.

Called by udp.
"""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress

from agent.tunnel.sockopts import (
    IP_MTU_DISCOVER,
    IP_PKTINFO,
    IP_PMTUDISC_DONT,
    IP_RECVTOS,
    SO_RCVBUFFORCE,
    SO_SNDBUFFORCE,
    SOL_UDP,
    UDP_GRO,
)

_BUFFER = 4 << 20
"""Bytes that the kernel keeps for us each way while we do something else."""
_PATIENCE = 0.02
"""Seconds that sending may wait for room in the kernel's buffer before datagrams are dropped."""
_ATTEMPTS = 64
"""How often a random port that is free for IPv4 but not for IPv6 is given back."""

_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


def bind_pair(port: int, mark: int, gro: bool) -> tuple[tuple[socket.socket, ...], int]:
    """The IPv4 socket and, if there is IPv6, that one; and their port, which was chosen if it was 0.

    `mark` is the fwmark, 0 for none; with `gro`, datagrams arrive in rows. Raises OSError.
    """
    for _ in range(_ATTEMPTS):
        first = _bind(socket.AF_INET, port, mark, gro)
        chosen: int = first.getsockname()[1]
        try:
            return (first, _bind(socket.AF_INET6, chosen, mark, gro)), chosen
        except OSError as error:
            if error.errno in _NO_IPV6:
                return (first,), chosen
            first.close()
            if port or error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, "no port is free for both IPv4 and IPv6")


def _bind(family: socket.AddressFamily, port: int, mark: int, gro: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        _prepare(sock, mark, gro)
        sock.bind(("" if family == socket.AF_INET else "::", port))
    except OSError:
        sock.close()
        raise
    return sock


def _prepare(sock: socket.socket, mark: int, gro: bool) -> None:
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVTOS, 1)
        # Routers may fragment what does not fit, as they may with the kernel's WireGuard: an inner packet
        # of the MTU's length must arrive even where nobody is told about a narrower path.
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    for force, plain in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, _BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, plain, _BUFFER)
    microseconds = int(_PATIENCE * 1e6)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, microseconds))
    if mark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    if gro:
        with suppress(OSError):
            sock.setsockopt(SOL_UDP, UDP_GRO, 1)
