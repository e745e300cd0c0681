"""The handshake's cryptography against vectors of other implementations."""

from __future__ import annotations

import hashlib
from typing import Any, Union

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)

from agent.wireguard.aead import SodiumChaCha20Poly1305, quicker
from agent.wireguard.noise import Initiator, NoiseError, Responder, blake2s, kdf
from agent.wireguard.x25519 import LowOrderError, PrivateKey
from tests.agent.wireguard.vectors import load

NOISE = [v for v in load("noise")["cacophony"] if v["protocol_name"].startswith("Noise_IKpsk2_")]
X25519 = load("x25519")
AEAD = load("aead")

Cipher = Union[type[ChaCha20Poly1305], type[SodiumChaCha20Poly1305]]


def _bytes(vector: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


def test_there_are_vectors_of_our_pattern() -> None:
    assert len(NOISE) == 1


@pytest.mark.parametrize("vector", NOISE)
def test_a_handshake_of_another_implementation_is_ours_byte_for_byte(vector: dict[str, Any]) -> None:
    prologue, static_i, ephemeral_i, remote, static_r, ephemeral_r, final = _bytes(
        vector,
        "init_prologue",
        "init_static",
        "init_ephemeral",
        "init_remote_static",
        "resp_static",
        "resp_ephemeral",
        "handshake_hash",
    )
    psk = bytes.fromhex(vector["init_psks"][0])
    messages = [_bytes(message, "payload", "ciphertext") for message in vector["messages"]]
    ours, theirs = PrivateKey(static_i), PrivateKey(static_r)
    assert theirs.public == remote

    initiator = Initiator(ours, PrivateKey(ephemeral_i), remote, ours.shared(remote), prologue)
    first = initiator.write(messages[0][0])
    assert b"".join(first) == messages[0][1]

    responder = Responder(theirs, prologue)
    assert responder.read_static(*first[:2]) == ours.public
    assert responder.read_payload(first[2], theirs.shared(ours.public)) == messages[0][0]
    ephemeral, payload, transcript = responder.write(PrivateKey(ephemeral_r), psk, messages[1][0])
    assert ephemeral + payload == messages[1][1]

    with pytest.raises(NoiseError):
        initiator.read(ephemeral, payload, bytes(32))
    plain, same = initiator.read(ephemeral, payload, psk)
    assert plain == messages[1][0]
    assert transcript.hash == same.hash == final
    assert transcript.split() == same.split()
    for number, (plaintext, ciphertext) in enumerate(messages[2:]):
        key = transcript.split()[number % 2]
        nonce = bytes(4) + (number // 2).to_bytes(8, "little")
        assert ChaCha20Poly1305(key).encrypt(nonce, plaintext, None) == ciphertext


@pytest.mark.parametrize("vector", load("kdf_hmac_blake2s"))
def test_kdf(vector: dict[str, str]) -> None:
    key, data, *outputs = _bytes(vector, "key", "input", "t0", "t1", "t2")
    for count in (1, 2, 3):
        assert kdf(key, data, count) == outputs[:count]


def test_blake2s() -> None:
    vectors = load("blake2s")
    data, key = bytes(range(256)), bytes(range(32))
    assert len(vectors["unkeyed"]) == len(vectors["keyed"]) == 256
    for size in range(256):
        assert blake2s(data[:size]).hex() == vectors["unkeyed"][size]
        assert hashlib.blake2s(data[:size], key=key).hexdigest() == vectors["keyed"][size]


@pytest.mark.parametrize("vector", X25519)
def test_x25519(vector: dict[str, Any]) -> None:
    private, public, result = _bytes(vector, "private", "public", "result")
    if vector["valid"]:
        assert PrivateKey(private).shared(public) == result
    else:
        with pytest.raises(LowOrderError):
            PrivateKey(private).shared(public)


def test_low_order_vectors_are_among_them() -> None:
    assert sum(not vector["valid"] for vector in X25519) == 16


@pytest.mark.parametrize("cipher", [ChaCha20Poly1305, SodiumChaCha20Poly1305])
@pytest.mark.parametrize("vector", AEAD["chacha20poly1305"])
def test_chacha20poly1305(vector: dict[str, Any], cipher: Cipher) -> None:
    key, nonce, associated, given, wanted = _bytes(vector, "key", "nonce", "assoc", "input", "output")
    aead = cipher(key)
    if vector["op"] == "enc":
        assert aead.encrypt(bytes(4) + nonce, given, associated) == wanted
    elif vector.get("failure"):
        with pytest.raises(InvalidTag):
            aead.decrypt(bytes(4) + nonce, given, associated)
    else:
        assert aead.decrypt(bytes(4) + nonce, given, associated) == wanted


@pytest.mark.parametrize(
    ("version", "cipher"),
    [
        ("38.0.4", SodiumChaCha20Poly1305),
        ("41.0.7", SodiumChaCha20Poly1305),
        ("42.0.0", ChaCha20Poly1305),
        ("100.0.0.dev1", ChaCha20Poly1305),
    ],
)
def test_the_quicker_library_is_used(version: str, cipher: Cipher) -> None:
    assert quicker(version) is cipher


@pytest.mark.parametrize("vector", AEAD["xchacha20poly1305"])
def test_xchacha20poly1305(vector: dict[str, Any]) -> None:
    key, nonce, associated, given, wanted = _bytes(vector, "key", "nonce", "assoc", "input", "output")
    work = {
        "enc": crypto_aead_xchacha20poly1305_ietf_encrypt,
        "dec": crypto_aead_xchacha20poly1305_ietf_decrypt,
    }[vector["op"]]
    assert work(given, associated, nonce, key) == wanted


def test_a_private_key_is_clamped_and_not_shown() -> None:
    key = PrivateKey(b"\xff" * 32)
    assert key.data == b"\xf8" + b"\xff" * 30 + b"\x7f"
    assert key.data.hex() not in repr(key)
    with pytest.raises(ValueError, match="32 bytes"):
        PrivateKey(bytes(31))


def test_zeros_are_refused_also_where_the_library_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    key = PrivateKey(b"k" * 32)
    monkeypatch.setattr("agent.wireguard.x25519.crypto_scalarmult", lambda ours, theirs: bytes(32))
    with pytest.raises(LowOrderError):
        key.shared(PrivateKey(b"p" * 32).public)
