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

from agent.tunnel.sockopts import SOL_UDP, UDP_GRO, UDP_SEGMENT

# include/uapi/linux/if_tun.h
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


def unwanted(text: str) -> frozenset[str]:
    """The names that VARIABLE lists. Raises ValueError, a sentence, for a name of none."""
    names = frozenset(filter(None, (name.strip() for name in text.split(","))))
    unknown = ", ".join(sorted(names - set(Offloads._fields)))
    if unknown:
        raise ValueError(f"{VARIABLE}: {unknown} is none of {', '.join(Offloads._fields)}")
    return names


def probe(without: Collection[str] = ()) -> Offloads:
    """What the kernel has, but for the names in `without`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        found = {
            "gso": _takes(sock, UDP_SEGMENT),
            "gro": _takes(sock, UDP_GRO),
            "vnet": _tun_has(IFF_VNET_HDR),
        }
    return Offloads(**{name: has and name not in without for name, has in found.items()})


def missing(offloads: Offloads, without: Collection[str] = ()) -> Iterator[str]:
    """A line for the operator about each one that is not used; `without` are those left out on purpose."""
    for name, has, (cost, why) in zip(offloads._fields, offloads, _COSTS):
        if not has:
            reason = f"{VARIABLE} says so" if name in without else why
            yield f"without {name}: {cost} ({reason}), so this tunnel is slower than it could be"


_COSTS = (
    ("each datagram is sent by itself", "this kernel has no UDP_SEGMENT"),
    ("each datagram is received by itself", "this kernel has no UDP_GRO"),
    ("each TCP segment is handed to the kernel by itself", "the TUN has no IFF_VNET_HDR"),
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
