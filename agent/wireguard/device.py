"""One WireGuard device, sans-IO: datagrams and packets in, datagrams and packets out.

Job: the public surface of the protocol core. Refuses to know sockets, the TUN device, files and the
clock: whoever runs the loop gives it time and randomness, asks `deadline` how long to sleep, and
carries out what `take` returns. Not for several threads at once. Called by agent.tunnel.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Callable, NamedTuple, Optional

from agent.wireguard.allowedips import AllowedIPs
from agent.wireguard.clock import Time
from agent.wireguard.endpoint import Endpoint


class Datagram(NamedTuple):
    """An outer UDP payload to send; `tos` is the whole TOS / traffic class byte to send it with."""

    endpoint: Endpoint
    data: bytes
    tos: int


class Output(NamedTuple):
    """What the device wants done: datagrams for the network, packets for the TUN, each in order."""

    datagrams: list[Datagram]
    packets: list[bytes]


class Peer:
    """A peer as configured and as it stands; read freely.

    `preshared_key` (32 bytes, zeros = none) may be assigned and counts from the next handshake on.
    Everything else changes through the device. `latest_handshake` is wall time in nanoseconds, None =
    never. `rx_bytes` and `tx_bytes` count UDP payloads of authenticated messages.
    """

    public_key: bytes
    preshared_key: bytes
    endpoint: Optional[Endpoint]
    persistent_keepalive: int
    latest_handshake: Optional[int]
    rx_bytes: int
    tx_bytes: int


class Device:
    """A device without peers, down. `random(n)` returns n bytes fit for keys; `mtu` is the TUN's."""

    mtu: int
    is_up: bool
    drops: dict[str, int]
    private_key: Optional[bytes]
    public_key: Optional[bytes]
    peers: dict[bytes, Peer]
    allowed_ips: AllowedIPs[Peer]

    def __init__(self, random: Callable[[int], bytes], mtu: int = 1420) -> None:
        raise NotImplementedError

    def receive(self, datagrams: Iterable[tuple[bytes, Endpoint, int]], now: Time) -> None:
        """Takes outer UDP payloads, each with where it came from and its TOS byte (0 if not known).

        Never raises for what is in them; what is not taken is counted in `drops`. Handshake messages
        beyond what one turn should carry are queued: then `deadline` is in the past, and `advance`
        goes on with them. The queue is what tells that the device is under load.
        """
        raise NotImplementedError

    def send(self, packets: Iterable[bytes], now: Time) -> None:
        """Takes inner IP packets from the TUN: encrypts them, or stages them and asks for a session."""
        raise NotImplementedError

    def advance(self, now: Time) -> None:
        """Fires the timers that are due and goes on with queued handshake messages."""
        raise NotImplementedError

    def deadline(self) -> Optional[float]:
        """Monotonic time at which `advance` should be called; None: not before something arrives."""
        raise NotImplementedError

    def take(self) -> Output:
        """What has come together since the last call; the caller owns the lists."""
        raise NotImplementedError

    def up(self, now: Time) -> None:
        """Peers with persistent keepalive are called at once."""
        raise NotImplementedError

    def down(self, now: Time) -> None:
        """Sessions, handshakes, timers and staged packets are gone; the configuration stays."""
        raise NotImplementedError

    def set_private_key(self, key: Optional[bytes], now: Time) -> None:
        """32 bytes, clamped here; None: no handshakes. The same key again changes nothing.

        A peer with our own public key is removed. Raises ValueError for another length.
        """
        raise NotImplementedError

    def add_peer(self, public_key: bytes, now: Time) -> Peer:
        """The peer with this key, made if need be. Raises ValueError where it is our own key, or not 32 bytes."""
        raise NotImplementedError

    def remove_peer(self, public_key: bytes, now: Time) -> None:
        """Nothing happens where there is no such peer."""
        raise NotImplementedError

    def remove_peers(self, now: Time) -> None:
        """Removes all of them."""
        raise NotImplementedError

    def set_endpoint(self, peer: Peer, endpoint: Endpoint, now: Time) -> None:
        """Where the peer is called; what was staged for it goes out."""
        raise NotImplementedError

    def set_keepalive(self, peer: Peer, seconds: int, now: Time) -> None:
        """0 = off, up to 65535. Turning it on while up sends a keepalive at once."""
        raise NotImplementedError

    def clear_sources(self) -> None:
        """Forgets which local address each peer contacted: the port or the mark of our sockets changed."""
        raise NotImplementedError
