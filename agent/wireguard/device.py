"""One WireGuard device, sans-IO: datagrams and packets in, datagrams and packets out.

Job: the public surface of the protocol core, and its configuration. Refuses to know sockets, the TUN
device, files and the clock: whoever runs the loop gives it time and randomness, asks `deadline` how long
to sleep, and carries out what `take` returns, or is called to carry out. Not for several threads at once.
Called by agent.tunnel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Callable, Optional

from agent.wireguard.admit import work_off
from agent.wireguard.allowedips import AllowedIPs
from agent.wireguard.clock import Time
from agent.wireguard.constants import KEY_SIZE, MAX_KEEPALIVE, MAX_PEERS
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.expiry import expire
from agent.wireguard.identity import Identity
from agent.wireguard.output import Datagrams, Output
from agent.wireguard.peer import Peer
from agent.wireguard.receive import receive
from agent.wireguard.send import send, send_keepalive, transmit
from agent.wireguard.state import State

__all__ = ["Datagrams", "Device", "Output", "Peer"]

_PEERS_A_TURN = 64
"""Whose timers are looked at in one turn; each may cost an initiation."""


class Device:
    """A device without peers, down. `random(n)` returns n bytes fit for keys; `mtu` is the TUN's.

    `peers` are in the order of their making, by public key; `allowed_ips` may be changed freely. `drops`
    counts what was not taken or sent, by reason.
    """

    def __init__(self, random: Callable[[int], bytes], mtu: int = 1420) -> None:
        """Raises ValueError where `mtu` is not positive."""
        self._state = State(random, mtu)
        self.mtu = mtu
        self.peers: dict[bytes, Peer] = self._state.peers
        self.allowed_ips: AllowedIPs[Peer] = self._state.allowed_ips
        self.drops: dict[str, int] = self._state.drops

    # The data path

    def receive(self, datagrams: Iterable[tuple[bytes, Endpoint, int]], now: Time) -> None:
        """Takes outer UDP payloads, each with where it came from and its TOS byte (0 if not known).

        Never raises for what is in them; what is not taken is counted in `drops`. Handshake messages
        beyond what one turn should carry are queued: then `deadline` is in the past, and `advance`
        goes on with them. The queue is what tells that the device is under load.
        """
        if self._state.is_up:
            receive(self._state, datagrams, now)
        else:
            self._state.drops["device is down"] += sum(1 for _ in datagrams)

    def send(self, packets: Iterable[bytes], now: Time) -> None:
        """Takes inner IP packets from the TUN: encrypts them, or stages them and asks for a session."""
        if self._state.is_up:
            send(self._state, packets, now)
        else:
            self._state.drops["device is down"] += sum(1 for _ in packets)

    def advance(self, now: Time) -> None:
        """Fires timers that are due and goes on with queued handshake messages.

        Of both as many as one turn should carry: where some are left, `deadline` is still in the past.
        """
        for _ in range(_PEERS_A_TURN):
            peer = self._state.schedule.pop(now.monotonic)
            if peer is None:
                break
            expire(self._state, peer, now)
        work_off(self._state, now)

    def deadline(self) -> Optional[float]:
        """Monotonic time at which to call `advance`; None: not before something arrives.

        Now and then a timer was put off meanwhile, and `advance` finds nothing to do.
        """
        return -math.inf if self._state.queue else self._state.schedule.deadline()

    def take(self) -> Output:
        """What has come together since the last call; the caller owns the lists."""
        state = self._state
        output = Output([*state.datagrams], [*state.packets])
        state.datagrams.clear()
        state.packets.clear()
        return output

    def carry_out_with(
        self, emit: Callable[[Datagrams], object], deliver: Callable[[Sequence[bytes]], object]
    ) -> None:
        """From now on nothing waits for `take`: these are called as soon as there is something to send.

        So packets are on their way before the device has put down that they are. They must not call the
        device; what they raise ends the method of the device that was called, and leaves that half done.
        """
        self._state.emit, self._state.deliver = emit, deliver

    # The device

    @property
    def is_up(self) -> bool:
        return self._state.is_up

    @property
    def mtu(self) -> int:
        """The largest packet, in bytes, up to which padding goes. Longer ones are sent all the same."""
        return self._state.mtu

    @mtu.setter
    def mtu(self, mtu: int) -> None:
        if mtu <= 0:
            raise ValueError(f"an MTU is positive, not {mtu}")
        self._state.mtu = mtu

    @property
    def private_key(self) -> Optional[bytes]:
        """32 bytes, clamped; None: unset."""
        identity = self._state.identity
        return identity.static.data if identity else None

    @property
    def public_key(self) -> Optional[bytes]:
        """32 bytes; None where there is no private key."""
        identity = self._state.identity
        return identity.static.public if identity else None

    def up(self, now: Time) -> None:
        """Peers with persistent keepalive are called at once: their timers are due."""
        if self._state.is_up:
            return
        self._state.is_up = True
        for peer in self.peers.values():
            if peer.persistent_keepalive:
                peer.timers.persistent = now.monotonic
                self._state.schedule.note(peer.timers, peer)

    def down(self, now: Time) -> None:
        """Sessions, handshakes, timers and staged packets are gone; the configuration stays."""
        self._state.is_up = False
        self._state.queue.clear()
        for peer in self.peers.values():
            self._silence(peer)

    def set_private_key(self, key: Optional[bytes], now: Time) -> None:
        """32 bytes, clamped here; None: no handshakes. The same key again changes nothing.

        A peer with our own public key is removed. Sessions go on receiving, but what is sent next asks
        for a new one; what is staged does so at once. Raises ValueError for another length.
        """
        identity = Identity(key, self._state.random) if key is not None else None
        if (identity.static.data if identity else None) == self.private_key:
            return
        self._state.identity = identity
        if identity is not None:
            self.remove_peer(identity.static.public, now)
        for peer in self.peers.values():
            peer.forget_key()
            peer.last_handshake_sent = -math.inf
            self._state.forget_pending(peer)
            for keypair in peer.keypairs:
                keypair.sends_until = -math.inf
            if peer.staged and identity is not None and self._state.is_up:
                peer.timers.call_anew(now.monotonic)
                self._state.schedule.note(peer.timers, peer)

    def clear_sources(self) -> None:
        """Forgets which local address each peer contacted: the port or the mark of our sockets changed."""
        for peer in self.peers.values():
            peer.forget_source()

    # Peers

    def add_peer(self, public_key: bytes, now: Time) -> Peer:
        """The peer with this key, made if need be.

        Raises ValueError for our own key, another length, and one peer more than a device may have.
        """
        peer = self.peers.get(public_key)
        if peer is not None:
            return peer
        if len(public_key) != KEY_SIZE:
            raise ValueError(f"a public key has {KEY_SIZE} bytes, not {len(public_key)}")
        if public_key == self.public_key:
            raise ValueError("a device is not its own peer")
        if len(self.peers) >= MAX_PEERS:
            raise ValueError(f"a device has {MAX_PEERS} peers at most")
        peer = Peer(public_key, self._state.jitters)
        self.peers[public_key] = peer
        return peer

    def remove_peer(self, public_key: bytes, now: Time) -> None:
        """Nothing happens where there is no such peer."""
        peer = self.peers.pop(public_key, None)
        if peer is not None:
            self.allowed_ips.clear(peer)
            self._silence(peer)

    def remove_peers(self, now: Time) -> None:
        """Removes all of them."""
        for public_key in list(self.peers):
            self.remove_peer(public_key, now)

    def set_endpoint(self, peer: Peer, endpoint: Endpoint, now: Time) -> None:
        """Where the peer is called; what was staged for it goes out."""
        peer.endpoint = endpoint
        if self._state.is_up:
            transmit(self._state, peer, [], now)

    def set_keepalive(self, peer: Peer, seconds: int, now: Time) -> None:
        """0 = off. Turning it on while up sends a keepalive at once. Raises ValueError beyond 65535."""
        if not 0 <= seconds <= MAX_KEEPALIVE:
            raise ValueError(f"a persistent keepalive is 0 to {MAX_KEEPALIVE} seconds, not {seconds}")
        is_new = seconds and not peer.persistent_keepalive
        peer.persistent_keepalive = seconds
        if is_new and self._state.is_up:
            send_keepalive(self._state, peer, now)
            # Also where the keepalive could not go out yet: there may be an endpoint by the next one.
            peer.timers.persistent = now.monotonic + seconds
            self._state.schedule.note(peer.timers, peer)

    def _silence(self, peer: Peer) -> None:
        self._state.drop_staged(peer, "peer removed or device down")
        self._state.erase_keys(peer)
        peer.timers.clear()
        peer.last_handshake_sent = -math.inf
