"""Keys as text, for `genkey`, `genpsk`, `pubkey` and files.

Pure: random bytes are given. Called by wg.main and config.
"""

from __future__ import annotations

import base64
import binascii

from agent.curve import clamp, public_key

SIZE = 32
_LETTERS = 44
_SPACE = " \t\n\v\f\r"


def private(random: bytes) -> str:
    """A private key, clamped as `wg genkey` does."""
    return encode(clamp(random))


def public(given: str) -> str:
    """The public key of a private one; white space may follow it. Raises ValueError."""
    data = decode(given[:_LETTERS])
    if given[_LETTERS:].strip(_SPACE):
        raise ValueError("something follows the private key")
    return encode(public_key(data))


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decode(text: str) -> bytes:
    """The 32 bytes of a key. Raises ValueError, which does not repeat the text: it may be a secret."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != SIZE or encode(data) != text:  # the last letter could say more than a key holds
        raise ValueError("expected a key, which is 44 letters of base64")
    return data
