"""ChaCha20-Poly1305 for data messages, from whichever library is quicker.

Before 42, `cryptography` sets the cipher up anew for every message: 10 us where libsodium takes 4, on the
same machine, whatever the message's size. Since then it is libsodium through PyNaCl that takes longer.
Called by keypair.
"""

from __future__ import annotations

from typing import Optional, Union

import cryptography
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_decrypt,
    crypto_aead_chacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError


class SodiumChaCha20Poly1305:
    """libsodium's, used like the one of `cryptography`."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes, associated: Optional[bytes]) -> bytes:
        return crypto_aead_chacha20poly1305_ietf_encrypt(data, associated, nonce, self._key)

    def decrypt(self, nonce: bytes, data: bytes, associated: Optional[bytes]) -> bytes:
        """`data` has a tag's 16 bytes at least. Raises InvalidTag."""
        try:
            return crypto_aead_chacha20poly1305_ietf_decrypt(data, associated, nonce, self._key)
        except CryptoError:
            raise InvalidTag from None


def quicker(version: str) -> Union[type[ChaCha20Poly1305], type[SodiumChaCha20Poly1305]]:
    """The class to use beside this version of `cryptography`."""
    return ChaCha20Poly1305 if int(version.split(".")[0]) >= 42 else SodiumChaCha20Poly1305


Aead = quicker(cryptography.__version__)
