"""What this kernel takes and gives many at a time, so that a packet does not cost a system call.

Job: find out once, when a tunnel starts, and word what is missing. Refuses to know how it is used. Called by
main, for udp and tun. docs/data-path.md tells what each is worth.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Collection, Iterator
from typing import NamedTuple

# include/uapi/linux/udp.h, if_tun.h
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
_TUNGETFEATURES = 0x800454CF
IFF_VNET_HDR = 0x4000

VARIABLE = "FLEET_TUNNEL_WITHOUT"
"""The environment variable with names of `Offloads` to do without, commas between them."""


class Offloads(NamedTuple):
    """`gso`: a row of datagrams is sent in one call (UDP_SEGMENT, Linux 4.18). `gro`: it is received in one
    (UDP_GRO, Linux 5.0). `vnet`: TCP segments are given to the kernel in one (IFF_VNET_HDR)."""

    gso: bool = False
    gro: bool = False
    vnet: bool = False


def probe(without: Collection[str] = ()) -> Offloads:
    """What the kernel has, but for the names in `without`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        found = {
            "gso": _takes(sock, UDP_SEGMENT),
            "gro": _takes(sock, UDP_GRO),
            "vnet": _tun_has(IFF_VNET_HDR),
        }
    return Offloads(**{name: has and name not in without for name, has in found.items()})


def missing(offloads: Offloads) -> Iterator[str]:
    """A line for the operator about each one that is not there."""
    for name, has, cost in zip(offloads._fields, offloads, _COSTS):
        if not has:
            yield f"without {name}: {cost}, so this tunnel is slower than it could be"


_COSTS = (
    "each datagram is sent by itself (UDP_SEGMENT is not there)",
    "each datagram is received by itself (UDP_GRO is not there)",
    "each TCP segment is handed to the kernel by itself (the TUN has no IFF_VNET_HDR)",
)


def _takes(sock: socket.socket, option: int) -> bool:
    try:
        sock.getsockopt(SOL_UDP, option)
    except OSError:
        return False
    return True


def _tun_has(flag: int) -> bool:
    """False also where there is no TUN at all, which whoever makes the device explains."""
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        (features,) = struct.unpack("=I", fcntl.ioctl(fd, _TUNGETFEATURES, bytes(4)))
    except OSError:
        return False
    finally:
        os.close(fd)
    return bool(features & flag)
