"""What both kinds of WireGuard device have in common: what they are, and how a change is worded.

Called by host, which refuses to know which kind it deals with; implemented by `kernel` and `userspace`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Optional, Protocol


class SocketAddress(NamedTuple):
    """Where a peer is called: `ip` as text without brackets, `scope` the interface of a link-local one."""

    ip: str
    port: int
    scope: int = 0


@dataclass(frozen=True)
class PeerState:
    """A peer as the device has it; `endpoint` as `host:port`, times of the wall clock, 0 for never."""

    public_key: bytes
    preshared_key: Optional[bytes] = field(default=None, repr=False)
    endpoint: Optional[str] = None
    allowed_ips: tuple[str, ...] = ()
    persistent_keepalive: int = 0
    latest_handshake_ns: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0

    @property
    def latest_handshake(self) -> Optional[float]:
        """In seconds, None for never."""
        return self.latest_handshake_ns / 1e9 or None


@dataclass(frozen=True)
class DeviceState:
    """A device as it is."""

    private_key: Optional[bytes] = field(default=None, repr=False)
    public_key: Optional[bytes] = None
    listen_port: int = 0
    fwmark: int = 0
    peers: tuple[PeerState, ...] = ()


@dataclass(frozen=True)
class PeerEdit:
    """A change of one peer: what is not None is set, `allowed_ips` are added.

    With `replace_allowed_ips` they take the place of those that it had. Without `new` a peer that does
    not exist is left so. 32 zero bytes as `preshared_key` mean none.
    """

    public_key: bytes
    new: bool = False
    remove: bool = False
    preshared_key: Optional[bytes] = field(default=None, repr=False)
    endpoint: Optional[SocketAddress] = None
    persistent_keepalive: Optional[int] = None
    allowed_ips: tuple[str, ...] = ()
    replace_allowed_ips: bool = False


@dataclass(frozen=True)
class DeviceEdit:
    """A change of a device: what is not None is set, then the peers in their order.

    32 zero bytes as `private_key` mean none. With `replace_peers` no other peer remains.
    """

    private_key: Optional[bytes] = field(default=None, repr=False)
    listen_port: Optional[int] = None
    fwmark: Optional[int] = None
    peers: tuple[PeerEdit, ...] = ()
    replace_peers: bool = False


class Device(Protocol):
    """Reads and changes devices of one kind by name. All methods raise OSError with an errno."""

    def read(self, interface: str) -> DeviceState:
        """The device as it is now."""

    def write(self, interface: str, edit: DeviceEdit) -> None:
        """Makes the change, in one request if it fits into one."""
