"""How keys are made and derived. Pure: randomness is given.

Called by `fleet.desired`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from nacl.bindings import crypto_scalarmult_base

from agent.secret import KEY_BYTES, Secret


def make_private_key(random: Callable[[int], bytes]) -> Secret:
    """A new X25519 private key, clamped as `wg genkey` prints them (RFC 7748, section 5)."""
    value = bytearray(random(KEY_BYTES))
    value[0] &= 0b11111000
    value[31] = value[31] & 0b01111111 | 0b01000000
    return Secret(bytes(value))


def public_key(private_key: Secret) -> str:
    """The base64 of the public key."""
    return base64.b64encode(crypto_scalarmult_base(private_key.reveal())).decode()


def derive_preshared_key(root: Secret, pair: str, generation: int) -> Secret:
    """Keyed BLAKE2s (RFC 7693) of a pair (`fleet.keys.refs.pair_id`) and its generation."""
    message = f"fleet preshared key {pair} {generation}".encode()
    return Secret(hashlib.blake2s(message, key=root.reveal(), digest_size=KEY_BYTES).digest())
