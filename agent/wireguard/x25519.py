"""Curve25519: private keys and what two parties share.

Refuses shared values that are all zeros, which low-order points give (whitepaper 5.4; noise.c mix_dh).
By libsodium, the quicker one: old versions of `cryptography` take 470 us to load a key, libsodium none.
Called by noise, identity, handshake and peer.
"""

from __future__ import annotations

from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.exceptions import RuntimeError as SodiumError

from agent.wireguard.constants import KEY_SIZE


class LowOrderError(ValueError):
    """The other side's point is of low order: nothing secret can be agreed on with it."""


class PrivateKey:
    """A private key with its public one; `data` and `public` are 32 bytes, `data` clamped.

    Raises ValueError for another length.
    """

    __slots__ = ("data", "public")

    def __init__(self, data: bytes) -> None:
        if len(data) != KEY_SIZE:
            raise ValueError(f"a private key has {KEY_SIZE} bytes, not {len(data)}")
        self.data = bytes((data[0] & 248,)) + data[1:31] + bytes((data[31] & 127 | 64,))
        self.public = crypto_scalarmult_base(self.data)

    def __repr__(self) -> str:
        return "PrivateKey(...)"

    def shared(self, public: bytes) -> bytes:
        """The 32 bytes shared with the owner of `public`. Raises LowOrderError."""
        try:
            shared = crypto_scalarmult(self.data, public)
        except SodiumError:
            raise LowOrderError("low-order point") from None
        if not any(shared):
            raise LowOrderError("low-order point")
        return shared
