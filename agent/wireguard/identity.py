"""Who a device is: its private key and what follows from it. Called by device and handshake."""

from __future__ import annotations

from typing import Callable

from agent.wireguard.cookie import CookieChecker
from agent.wireguard.x25519 import PrivateKey


class Identity:
    """`static` is the key, `checker` checks the MACs of what is sent to its owner."""

    __slots__ = ("checker", "static")

    def __init__(self, private_key: bytes, random: Callable[[int], bytes]) -> None:
        """Raises ValueError where the key has not 32 bytes."""
        self.static = PrivateKey(private_key)
        self.checker = CookieChecker(self.static.public, random)
