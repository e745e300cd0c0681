"""Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s: both parties of one handshake.

Job: what is encrypted and hashed in which order (whitepaper 5.4.2, 5.4.3; Noise revision 34). Refuses to
know how messages are framed, who the peers are and what the payloads mean. Called by handshake.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from agent.wireguard.x25519 import LowOrderError, PrivateKey

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
PROLOGUE = b"WireGuard v1 zx2c4 Jason@zx2c4.com"

_NONCE = bytes(12)  # every key in a handshake encrypts once


class NoiseError(ValueError):
    """The message is not authentic, or a key in it is of low order."""


def blake2s(data: bytes) -> bytes:
    """The protocol's HASH: 32 bytes."""
    return hashlib.blake2s(data).digest()


def kdf(key: bytes, data: bytes, count: int) -> list[bytes]:
    """KDF_count of the whitepaper: HKDF with HMAC-BLAKE2s (RFC 5869), `count` outputs of 32 bytes."""
    secret = hmac.new(key, data, hashlib.blake2s).digest()
    outputs: list[bytes] = []
    output = b""
    for number in range(1, count + 1):
        output = hmac.new(secret, output + bytes((number,)), hashlib.blake2s).digest()
        outputs.append(output)
    return outputs


class Transcript:
    """Noise's symmetric state: the chaining key, the hash of all that was said, the key in use."""

    __slots__ = ("chaining_key", "hash", "key")

    def __init__(self, responder: bytes, prologue: bytes) -> None:
        self.chaining_key = blake2s(CONSTRUCTION)
        self.hash = blake2s(blake2s(self.chaining_key + prologue) + responder)
        self.key = b""

    def copy(self) -> Transcript:
        copy = Transcript.__new__(Transcript)
        copy.chaining_key, copy.hash, copy.key = self.chaining_key, self.hash, self.key
        return copy

    def mix_hash(self, data: bytes) -> None:
        self.hash = blake2s(self.hash + data)

    def mix_key(self, data: bytes) -> None:
        self.chaining_key, self.key = kdf(self.chaining_key, data, 2)

    def mix_ephemeral(self, public: bytes) -> None:
        """With a pre-shared key in the pattern, an ephemeral also goes into the chaining key."""
        self.mix_hash(public)
        self.chaining_key = kdf(self.chaining_key, public, 1)[0]

    def mix_psk(self, psk: bytes) -> None:
        self.chaining_key, temporary, self.key = kdf(self.chaining_key, psk, 3)
        self.mix_hash(temporary)

    def encrypt(self, plaintext: bytes) -> bytes:
        ciphertext = ChaCha20Poly1305(self.key).encrypt(_NONCE, plaintext, self.hash)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Raises NoiseError."""
        try:
            plaintext = ChaCha20Poly1305(self.key).decrypt(_NONCE, ciphertext, self.hash)
        except InvalidTag:
            raise NoiseError("wrong tag") from None
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """The transport keys: the initiator's to send with, the responder's to send with."""
        initiators, responders = kdf(self.chaining_key, b"", 2)
        return initiators, responders


def _mix_shared(transcript: Transcript, private: PrivateKey, public: bytes) -> None:
    try:
        transcript.mix_key(private.shared(public))
    except LowOrderError as error:
        raise NoiseError(str(error)) from None


class Initiator:
    """The party that knows the other's static key. Call `write`, then `read` until it succeeds.

    `static_static` is what the two static keys share: it is the same every time, so it comes computed.
    """

    __slots__ = ("_ephemeral", "_remote", "_static", "_static_static", "_transcript")

    def __init__(
        self,
        static: PrivateKey,
        ephemeral: PrivateKey,
        remote: bytes,
        static_static: bytes,
        prologue: bytes = PROLOGUE,
    ) -> None:
        self._static = static
        self._ephemeral = ephemeral
        self._remote = remote
        self._static_static = static_static
        self._transcript = Transcript(remote, prologue)

    def write(self, payload: bytes) -> tuple[bytes, bytes, bytes]:
        """The first message: ephemeral, encrypted static, encrypted payload. Raises NoiseError."""
        transcript = self._transcript
        transcript.mix_ephemeral(self._ephemeral.public)
        _mix_shared(transcript, self._ephemeral, self._remote)
        static = transcript.encrypt(self._static.public)
        transcript.mix_key(self._static_static)
        return self._ephemeral.public, static, transcript.encrypt(payload)

    def read(self, ephemeral: bytes, payload: bytes, psk: bytes) -> tuple[bytes, Transcript]:
        """The second message: its payload, and the transcript at the end.

        Raises NoiseError, and then waits for another second message as before.
        """
        transcript = self._transcript.copy()
        transcript.mix_ephemeral(ephemeral)
        _mix_shared(transcript, self._ephemeral, ephemeral)
        _mix_shared(transcript, self._static, ephemeral)
        transcript.mix_psk(psk)
        return transcript.decrypt(payload), transcript


class Responder:
    """The party that is called. Call `read_static`, `read_payload`, `write`, in this order."""

    __slots__ = ("_ephemeral", "_remote", "_static", "_transcript")

    def __init__(self, static: PrivateKey, prologue: bytes = PROLOGUE) -> None:
        self._static = static
        self._ephemeral = b""
        self._remote = b""
        self._transcript = Transcript(static.public, prologue)

    def read_static(self, ephemeral: bytes, static: bytes) -> bytes:
        """Who calls, by public key; true only once the payload was read too. Raises NoiseError."""
        self._transcript.mix_ephemeral(ephemeral)
        _mix_shared(self._transcript, self._static, ephemeral)
        self._ephemeral = ephemeral
        self._remote = self._transcript.decrypt(static)
        return self._remote

    def read_payload(self, payload: bytes, static_static: bytes) -> bytes:
        """The first message's payload. Raises NoiseError."""
        self._transcript.mix_key(static_static)
        return self._transcript.decrypt(payload)

    def write(
        self, ephemeral: PrivateKey, psk: bytes, payload: bytes = b""
    ) -> tuple[bytes, bytes, Transcript]:
        """The second message: ephemeral and encrypted payload; and the transcript. Raises NoiseError."""
        transcript = self._transcript
        transcript.mix_ephemeral(ephemeral.public)
        _mix_shared(transcript, ephemeral, self._ephemeral)
        _mix_shared(transcript, ephemeral, self._remote)
        transcript.mix_psk(psk)
        return ephemeral.public, transcript.encrypt(payload), transcript
