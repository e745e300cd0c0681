"""The TUN device: inner packets in and out.

Job: make the device, read and write packets in batches without blocking, tell when the device is gone.
After its creation the device is known by its file descriptor alone, so it may be renamed or moved to
another network namespace. Refuses to know what packets mean. Called by loop and main.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from agent.tunnel.errors import StartError
from agent.tunnel.offloads import IFF_VNET_HDR

DEFAULT_MTU = 1420
QUEUE_LENGTH = 200
"""Packets the kernel keeps for us while we do something else; wireguard-go's device has 500."""

_DEVICE = "/dev/net/tun"
_LONGEST_READ = 65535 + 10

_HEADER_SIZE = 10
"""Of a struct virtio_net_hdr (include/uapi/linux/virtio_net.h). In front of what is read it says nothing:
the kernel is told to finish every packet, as that is cheaper for it than for us."""

_MOST_PIECES_OF_ONE = 2
"""The virtio header and the packet; a merged one has headers, and the payload of each segment."""

# include/uapi/linux/if_tun.h
_IFF_TUN, _IFF_NO_PI, _IFF_TUN_EXCL = 0x0001, 0x1000, 0x8000
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
# include/uapi/linux/sockios.h
_SIOCSIFMTU, _SIOCSIFTXQLEN = 0x8922, 0x8943

_GONE = frozenset({errno.EBADFD, errno.EBADF, errno.ENODEV})
_REASONS = {
    errno.ENOENT: f"{_DEVICE} does not exist; load the module (modprobe tun) or pass the device in",
    errno.EPERM: "only root may make a network device (CAP_NET_ADMIN)",
    errno.EACCES: f"its mode does not let this process open {_DEVICE}; it is 0666 elsewhere",
    errno.ENODEV: f"{_DEVICE} has no driver behind it; load the module (modprobe tun)",
    errno.EBUSY: "a network device of this name exists already",
    errno.EINVAL: "a network device of this name exists already, or the name is not allowed",
}


class DeviceGoneError(Exception):
    """The device was removed: nothing is left to do but end."""


class Tun:
    """A TUN device that exists as long as this object is open."""

    def __init__(self, name: str, mtu: int = DEFAULT_MTU, vnet: bool = False) -> None:
        """Makes the device `name`, down. Raises StartError.

        With `vnet`, what is written begins with a struct virtio_net_hdr, and while `takes_merged`, may be
        several segments in one.
        """
        self.vnet = self.takes_merged = vnet
        self._skipped = _HEADER_SIZE if vnet else 0
        try:
            self.fd = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _start_error(name, error) from error
        flags = _IFF_TUN | _IFF_NO_PI | _IFF_TUN_EXCL | (IFF_VNET_HDR if vnet else 0)
        try:
            fcntl.ioctl(self.fd, _TUNSETIFF, _request(name, flags))
            if vnet:
                fcntl.ioctl(self.fd, _TUNSETOFFLOAD, 0)
        except OSError as error:
            os.close(self.fd)
            raise _start_error(name, error) from error
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                fcntl.ioctl(sock, _SIOCSIFMTU, _request(name, mtu))
                fcntl.ioctl(sock, _SIOCSIFTXQLEN, _request(name, QUEUE_LENGTH))
        except OSError as error:
            os.close(self.fd)
            reason = os.strerror(error.errno or 0)
            raise StartError(f"cannot give {name} an MTU of {mtu} bytes: {reason}") from error
        set_up_as_the_kernel_does(name)

    def read(self, limit: int) -> list[bytes]:
        """Up to `limit` packets that wait now. Raises DeviceGoneError."""
        packets: list[bytes] = []
        fd, header = self.fd, self._skipped
        try:
            while len(packets) < limit:
                packets.append(os.read(fd, _LONGEST_READ)[header:])
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in _GONE:
                raise DeviceGoneError from error
        return packets

    def write(self, packets: Iterable[Sequence[bytes]]) -> int:
        """Hands packets, each in pieces, to the kernel; how many it did not take, as it does when down.

        Some kernels refuse merged packets that others take. Once that happens, `takes_merged` is false; what
        was in those refused is lost, and TCP repeats it. Raises DeviceGoneError.
        """
        refused = 0
        writev, fd = os.writev, self.fd
        for pieces in packets:
            try:
                writev(fd, pieces)
            except OSError as error:
                if error.errno in _GONE:
                    raise DeviceGoneError from error
                if error.errno == errno.EINVAL and len(pieces) > _MOST_PIECES_OF_ONE:
                    self.takes_merged = False
                refused += 1
        return refused

    def close(self) -> None:
        """Removes the device."""
        os.close(self.fd)


def _request(name: str, value: int) -> bytes:
    """A struct ifreq (include/uapi/linux/if.h); flags stand in the lower half of the same integer."""
    return struct.pack("=16si20x", name.encode(), value)


def _start_error(name: str, error: OSError) -> StartError:
    reason = _REASONS.get(error.errno or 0, os.strerror(error.errno or 0))
    return StartError(f"cannot make the network device {name}: {reason}")


def set_up_as_the_kernel_does(name: str) -> None:
    """The sysctls of the kernel's WireGuard (drivers/net/wireguard/device.c, wg_open), lost when it is moved.

    No link-local address: nobody can use one, and router solicitations cost. No ICMP redirects: a hub
    sends back out where a packet came in, and the sender has no other way. Redirects are sent where
    either the device or all devices say so. Where /proc/sys may not be written the device works all
    the same.
    """
    for file, value in (
        (f"ipv6/conf/{name}/addr_gen_mode", "1"),
        (f"ipv4/conf/{name}/send_redirects", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
    ):
        with suppress(OSError):
            Path("/proc/sys/net", file).write_text(value)
