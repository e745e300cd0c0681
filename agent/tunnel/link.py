"""The link of the TUN device: whether it is up, and its MTU, wherever the device may be.

Job: tell when something may have changed (a socket to poll) and what is so now. The device is found by
the file descriptor of its TUN alone, which knows the present name and network namespace. A namespace that
the device was moved to gets an id in ours, as sockets may listen to what has one; so nothing of ours keeps
it alive. Refuses to know what anybody does about a change. Called by loop.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from agent.tunnel import netlink
from agent.tunnel.tun import DEFAULT_MTU, DeviceGoneError

# include/uapi/linux/if_tun.h, sockios.h, if.h, rtnetlink.h, if_link.h, socket.h, netlink.h, net_namespace.h
_TUNGETIFF, _TUNGETDEVNETNS = 0x800454D2, 0x54E3
_SIOCGIFFLAGS, _SIOCGIFMTU, _SIOCGIFINDEX = 0x8913, 0x8921, 0x8933
_IFF_UP = 0x1
_RTMGRP_LINK = 0x1
_SOL_NETLINK, _NETLINK_LISTEN_ALL_NSID = 270, 8
_NLMSG_ERROR, _RTM_GETLINK, _RTM_NEWNSID, _RTM_GETNSID = 2, 18, 88, 90
_IFLA_IFNAME, _IFLA_MTU, _IFLA_TARGET_NETNSID = 3, 4, 46
_NETNSA_NSID, _NETNSA_FD = 1, 3
_IFINFOMSG = struct.Struct("=BxHiII")

_OWN_NAMESPACE = Path("/proc/thread-self/ns/net")


class Link(NamedTuple):
    """Whether the device is up, its MTU in bytes, and its index in our own namespace, 0 in another."""

    up: bool
    mtu: int
    interface: int


class LinkWatch:
    """Follows the link of the device behind a TUN file descriptor."""

    def __init__(self, tun_fd: int) -> None:
        self._tun_fd = tun_fd
        self._home = self._place = _identity(_OWN_NAMESPACE.stat())
        self._socket = netlink.connect(_RTMGRP_LINK)
        self._last = Link(False, DEFAULT_MTU, 0)
        self.is_deaf = False

    def fileno(self) -> int:
        """Readable when a link changed: `now` tells whether it was this one.

        While `is_deaf`, changes show in `now` alone: the kernel tells us nothing of the device's namespace.
        """
        return self._socket.fileno()

    def now(self) -> Link:
        """The link as it is, or as it was last known where it cannot be seen. Raises DeviceGoneError."""
        netlink.drain(self._socket)
        try:
            name = fcntl.ioctl(self._tun_fd, _TUNGETIFF, bytes(40))[:16]
        except OSError as error:
            raise DeviceGoneError from error
        with suppress(OSError):
            self._last = self._look(name)
        return self._last

    @property
    def is_home(self) -> bool:
        """Whether the device is known to have been, at the last `now`, in our own network namespace."""
        return self._place == self._home and not self.is_deaf

    def close(self) -> None:
        """Gives the socket back; the device stays."""
        self._socket.close()

    def _listen_to(self, place: tuple[int, int], namespace: int) -> None:
        """From now on to the namespace that the device is in."""
        if place == self._place:
            return
        self._place = place
        is_elsewhere = place != self._home
        self.is_deaf = False
        try:
            if is_elsewhere:
                _give_id(namespace)
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_LISTEN_ALL_NSID, is_elsewhere)
        except OSError:
            self.is_deaf = is_elsewhere

    def _look(self, name: bytes) -> Link:
        """The link of that name in the device's namespace, which nothing of ours keeps alive.

        Raises OSError, on Linux before 5.2 always where the device was moved.
        """
        try:
            namespace = fcntl.ioctl(self._tun_fd, _TUNGETDEVNETNS)
        except OSError:
            self.is_deaf = True
            return self._look_here(name)
        try:
            place = _identity(os.fstat(namespace))
            self._listen_to(place, namespace)
            return self._look_here(name) if place == self._home else _look_there(namespace, name)
        finally:
            os.close(namespace)

    def _look_here(self, name: bytes) -> Link:
        flags = fcntl.ioctl(self._socket, _SIOCGIFFLAGS, name + bytes(24))
        mtu = fcntl.ioctl(self._socket, _SIOCGIFMTU, name + bytes(24))
        index = fcntl.ioctl(self._socket, _SIOCGIFINDEX, name + bytes(24))
        (bits,) = struct.unpack_from("=H", flags, 16)
        index_here = _integer(index) if self._place == self._home else 0
        return Link(bool(bits & _IFF_UP), _integer(mtu), index_here)


def _integer(request: bytes) -> int:
    """What a struct ifreq holds."""
    number: int
    (number,) = struct.unpack_from("=i", request, 16)
    return number


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


def _give_id(namespace: int) -> None:
    """Names a network namespace in ours, unless it has a name there. Raises OSError where that failed."""
    body = bytes(4)  # struct rtgenmsg, padded
    body += netlink.attribute(_NETNSA_NSID, struct.pack("=i", -1))
    body += netlink.attribute(_NETNSA_FD, struct.pack("=I", namespace))
    with suppress(FileExistsError):
        _ask(netlink.request(_RTM_NEWNSID, body, acknowledged=True))


def _look_there(namespace: int, name: bytes) -> Link:
    """A link of another namespace, asked for from ours by the id that it has here. Raises OSError.

    Unlike to enter it, that takes no more than CAP_NET_ADMIN; to hear of changes there takes
    CAP_NET_BROADCAST. Linux 4.20 can (rtnetlink.c, rtnl_getlink).
    """
    answer = _ask(
        netlink.request(_RTM_GETNSID, bytes(4) + netlink.attribute(_NETNSA_FD, struct.pack("=I", namespace)))
    )
    known = dict(netlink.attributes(answer[4:]))[_NETNSA_NSID]
    body = bytes(_IFINFOMSG.size) + netlink.attribute(_IFLA_TARGET_NETNSID, known)
    answer = _ask(netlink.request(_RTM_GETLINK, body + netlink.attribute(_IFLA_IFNAME, name)))
    *_, bits, _ = _IFINFOMSG.unpack_from(answer)
    (mtu,) = struct.unpack("=I", dict(netlink.attributes(answer[_IFINFOMSG.size :]))[_IFLA_MTU])
    return Link(bool(bits & _IFF_UP), mtu, 0)


def _ask(request: bytes) -> bytes:
    """The answer without its header; empty where that was an acknowledgement. Raises OSError."""
    with netlink.connect() as sock:
        sock.send(request)
        answer = sock.recv(65536)
    _, kind, _, _, _ = netlink.HEADER.unpack_from(answer)
    if kind != _NLMSG_ERROR:
        return answer[netlink.HEADER.size :]
    (result,) = struct.unpack_from("=i", answer, netlink.HEADER.size)
    if result:
        raise OSError(-result, os.strerror(-result))
    return b""
