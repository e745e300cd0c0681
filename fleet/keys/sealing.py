"""Sealing: how keys lie in the state, readable with the sealing key alone.

XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha, as in libsodium) with random nonces, which its 24 bytes
allow. What is sealed is bound to its fleet, host, kind and generation: a value that was moved elsewhere
does not open. Pure: nonces are given, and where the key comes from is `fleet.keys.keyring`'s. Called by
`fleet.desired`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from agent.secret import Secret
from fleet.errors import FleetError

_FORMAT = b"\x01"
_NONCE_BYTES = 24


@dataclass(frozen=True)
class Place:
    """What a sealed value is, and where it belongs; `host` is a host id, empty for what is the fleet's."""

    fleet_id: str
    host: str
    kind: Literal["private-key", "psk-root"]
    generation: int

    def associated_data(self) -> bytes:
        """Different places give different bytes."""
        return json.dumps(["fleet", self.fleet_id, self.host, self.kind, self.generation]).encode()


class Sealer:
    """Seals and opens with one key; its representation shows nothing of it."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def seal(self, secret: Secret, place: Place, random: Callable[[int], bytes]) -> bytes:
        """The format's number, a nonce and the ciphertext."""
        nonce = random(_NONCE_BYTES)
        sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(
            secret.reveal(), place.associated_data(), nonce, self._key.reveal()
        )
        return _FORMAT + nonce + sealed

    def unseal(self, sealed: bytes, place: Place) -> Secret:
        """Raises FleetError where it was sealed with another key, for another place, or was damaged."""
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != _FORMAT:
                raise ValueError("an unknown format")
            opened = crypto_aead_xchacha20poly1305_ietf_decrypt(
                ciphertext, place.associated_data(), nonce, self._key.reveal()
            )
            return Secret(opened)
        except (CryptoError, ValueError, TypeError) as error:
            of = f"host id {place.host}" if place.host else "the whole fleet"
            raise FleetError(
                f"The {place.kind} of {of}, generation {place.generation}, cannot be unsealed: the sealing "
                f"key is not the one of fleet {place.fleet_id}, or the state was damaged. Use the right "
                "key, or restore the state from a backup"
            ) from error
