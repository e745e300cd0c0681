"""A peer: how it is configured and how it stands. State without behaviour of its own.

Called by device, handshake, send, receive and expiry, which change it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple, Optional

from agent.wireguard.constants import KEY_SIZE
from agent.wireguard.cookie import CookieJar
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.keypair import Keypairs
from agent.wireguard.noise import Initiator
from agent.wireguard.timers import Timers
from agent.wireguard.x25519 import LowOrderError, PrivateKey


class Pending(NamedTuple):
    """An initiation that we sent and that was not answered; `local_index` is ours."""

    peer: Peer
    local_index: int
    initiator: Initiator


class Peer:
    """A peer of one device; read freely.

    `preshared_key` (32 bytes, zeros = none) may be assigned and counts from the next handshake on.
    Everything else changes through the device. `latest_handshake` is wall time in nanoseconds, None =
    never. `rx_bytes` and `tx_bytes` count the UDP payloads of authenticated messages.

    For the core: `latest_timestamp` is that of the last initiation taken, `own_timestamp` that of the last
    one made; `last_initiation` and `last_handshake_sent` are monotonic times.
    """

    __slots__ = (
        "_met",
        "_static_static",
        "cookies",
        "endpoint",
        "keypairs",
        "last_handshake_sent",
        "last_initiation",
        "latest_handshake",
        "latest_timestamp",
        "own_timestamp",
        "pending",
        "persistent_keepalive",
        "preshared_key",
        "public_key",
        "rx_bytes",
        "staged",
        "timers",
        "tx_bytes",
    )

    def __init__(self, public_key: bytes, jitters: Iterator[float]) -> None:
        self.public_key = public_key
        self.preshared_key = bytes(KEY_SIZE)
        self.endpoint: Optional[Endpoint] = None
        self.persistent_keepalive = 0
        self.latest_handshake: Optional[int] = None
        self.rx_bytes = 0
        self.tx_bytes = 0
        self.cookies = CookieJar(public_key)
        self.keypairs = Keypairs()
        self.pending: Optional[Pending] = None
        self.staged: deque[bytes] = deque()
        self.timers = Timers(jitters)
        self.latest_timestamp = bytes(12)
        self.own_timestamp = bytes(12)
        self.last_initiation = -math.inf
        self.last_handshake_sent = -math.inf
        self._met: Optional[PrivateKey] = None
        self._static_static: Optional[bytes] = None

    def static_static(self, static: PrivateKey) -> Optional[bytes]:
        """What our static key shares with the peer's; None: nothing may be agreed on.

        It is computed when it is first asked for: a device with many peers that gets another key goes on
        at once.
        """
        if self._met is not static:
            self.forget_key()
            with suppress(LowOrderError):
                self._static_static = static.shared(self.public_key)
            self._met = static
        return self._static_static

    def forget_source(self) -> None:
        """Leaves the way to the peer to routing."""
        if self.endpoint is not None:
            self.endpoint = self.endpoint.without_source()

    def forget_key(self) -> None:
        """Our static key is another one now."""
        self._met = self._static_static = None
