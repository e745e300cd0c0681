"""Curve25519: private keys and what two parties share.

Called by noise, identity and peer. Refuses shared values that are all zeros, which low-order points
give (whitepaper 5.4; noise.c mix_dh).
"""

from __future__ import annotations

from cryptography.exceptions import InternalError
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.wireguard.constants import KEY_SIZE


class LowOrderError(ValueError):
    """The other side's point is of low order: nothing secret can be agreed on with it."""


class PrivateKey:
    """A private key with its public one; `data` and `public` are 32 bytes, `data` clamped.

    Raises ValueError for another length.
    """

    __slots__ = ("_key", "data", "public")

    def __init__(self, data: bytes) -> None:
        if len(data) != KEY_SIZE:
            raise ValueError(f"a private key has {KEY_SIZE} bytes, not {len(data)}")
        self.data = bytes((data[0] & 248,)) + data[1:31] + bytes((data[31] & 127 | 64,))
        self._key = X25519PrivateKey.from_private_bytes(self.data)
        self.public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def __repr__(self) -> str:
        return "PrivateKey(...)"

    def shared(self, public: bytes) -> bytes:
        """The 32 bytes shared with the owner of `public`. Raises LowOrderError."""
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except (ValueError, InternalError):  # which of them depends on the library's age
            raise LowOrderError("low-order point") from None
        if not any(shared):
            raise LowOrderError("low-order point")
        return shared
