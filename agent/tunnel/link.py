"""The link of the TUN device: whether it is up, and its MTU, wherever the device may be.

Job: tell when something may have changed (a socket to poll) and what is so now. The device is found by
the file descriptor of its TUN alone, which knows the present name and network namespace. A namespace that
the device was moved to gets an id in ours, as sockets may listen to what has one; so nothing of ours keeps
it alive. Refuses to know what anybody does about a change. Called by loop.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from agent.tunnel import netlink
from agent.tunnel.tun import DEFAULT_MTU, DeviceGoneError

# include/uapi/linux/if_tun.h, sockios.h, if.h, rtnetlink.h, sched.h, socket.h, netlink.h, net_namespace.h
_TUNGETIFF, _TUNGETDEVNETNS = 0x800454D2, 0x54E3
_SIOCGIFFLAGS, _SIOCGIFMTU, _SIOCGIFINDEX = 0x8913, 0x8921, 0x8933
_IFF_UP = 0x1
_RTMGRP_LINK = 0x1
_CLONE_NEWNET = 0x40000000
_SOL_NETLINK, _NETLINK_LISTEN_ALL_NSID = 270, 8
_RTM_NEWNSID = 88
_NETNSA_NSID, _NETNSA_FD = 1, 3

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
        with suppress(OSError), self._socket_beside_device() as sock:
            flags = fcntl.ioctl(sock, _SIOCGIFFLAGS, name + bytes(24))
            mtu = fcntl.ioctl(sock, _SIOCGIFMTU, name + bytes(24))
            index = fcntl.ioctl(sock, _SIOCGIFINDEX, name + bytes(24))
            (bits,) = struct.unpack_from("=H", flags, 16)
            self._last = Link(bool(bits & _IFF_UP), _integer(mtu), _integer(index))
            if self._place != self._home:
                self._last = self._last._replace(interface=0)
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

    @contextmanager
    def _socket_beside_device(self) -> Iterator[socket.socket]:
        """A socket in the device's namespace, kept no longer than needed: it would keep that alive.

        Raises OSError, on Linux before 5.2 always where the device was moved.
        """
        try:
            namespace = fcntl.ioctl(self._tun_fd, _TUNGETDEVNETNS)
        except OSError:
            self.is_deaf = True
            yield self._socket
            return
        try:
            place = _identity(os.fstat(namespace))
            self._listen_to(place, namespace)
            if place == self._home:
                yield self._socket
                return
            with _inside(namespace):
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        finally:
            os.close(namespace)
        with sock:
            yield sock


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
    with netlink.connect() as sock:
        sock.send(netlink.request(_RTM_NEWNSID, body, acknowledged=True))
        (result,) = struct.unpack_from("=i", sock.recv(65536), netlink.HEADER.size)
    if result and -result != errno.EEXIST:
        raise OSError(-result, os.strerror(-result))


@contextmanager
def _inside(namespace: int) -> Iterator[None]:
    """This thread is in another network namespace; os.setns exists from Python 3.12 on only."""
    setns = ctypes.CDLL(None, use_errno=True).setns
    home = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if setns(namespace, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if setns(home, _CLONE_NEWNET):
                raise SystemExit("the tunnel cannot come back to its own network namespace")
    finally:
        os.close(home)
