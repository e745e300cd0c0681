"""What the parts of one device share: configuration, tables, counters, and the output so far.

Called by device, which owns it, and by handshake, send, receive and expiry, which work on it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Callable, NamedTuple, Optional, Union

from agent.wireguard.allowedips import AllowedIPs
from agent.wireguard.constants import HANDSHAKE_BURST, HANDSHAKES_PER_SECOND
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.identity import Identity
from agent.wireguard.index import IndexTable
from agent.wireguard.keypair import Keypair
from agent.wireguard.output import Datagrams
from agent.wireguard.peer import Peer, Pending
from agent.wireguard.ratelimiter import RateLimiter
from agent.wireguard.timers import Schedule, jitters

_UNREACHABLES_PER_SECOND = 10


class Queued(NamedTuple):
    """An initiation or response with a valid mac1 that waits for its turn."""

    message: bytes
    source: Endpoint


class State:
    """All of a device. `queue` are handshake messages; until `loaded_until` the device is under load.

    `emit` and `deliver` take what is for the network and what is for the TUN: `datagrams` and `packets` by
    default.
    """

    def __init__(self, random: Callable[[int], bytes], mtu: int) -> None:
        self.random = random
        self.mtu = mtu
        self.is_up = False
        self.identity: Optional[Identity] = None
        self.peers: dict[bytes, Peer] = {}
        self.allowed_ips: AllowedIPs[Peer] = AllowedIPs()
        self.indices: IndexTable[Union[Keypair, Pending]] = IndexTable(random)
        self.schedule: Schedule[Peer] = Schedule()
        self.jitters = jitters(random)
        self.queue: deque[Queued] = deque()
        self.loaded_until = 0.0
        self.handshake_limiter = RateLimiter(HANDSHAKES_PER_SECOND, HANDSHAKE_BURST)
        self.unreachable_limiter = RateLimiter(_UNREACHABLES_PER_SECOND, _UNREACHABLES_PER_SECOND)
        self.drops: Counter[str] = Counter()
        self.datagrams: list[Datagrams] = []
        self.packets: list[bytes] = []
        self.emit: Callable[[Datagrams], object] = self.datagrams.append
        self.deliver: Callable[[Sequence[bytes]], object] = self.packets.extend

    def retire(self, keypairs: list[Keypair]) -> None:
        """Their indices stand for nothing any more."""
        for keypair in keypairs:
            self.indices.remove(keypair.local_index)

    def forget_pending(self, peer: Peer) -> None:
        """The peer's unanswered initiation, if any, cannot be answered any more."""
        if peer.pending is not None:
            self.indices.remove(peer.pending.local_index)
            peer.pending = None

    def erase_keys(self, peer: Peer) -> None:
        """All sessions and the unanswered initiation of the peer are gone."""
        self.forget_pending(peer)
        self.retire(peer.keypairs.clear())

    def drop_staged(self, peer: Peer, reason: str) -> None:
        if peer.staged:
            self.drops[reason] += len(peer.staged)
            peer.staged.clear()
