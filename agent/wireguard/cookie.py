"""MACs and cookies, both ways (whitepaper 5.4.4, 5.4.7, 5.3; cookie.c).

`CookieChecker` is the called side: it checks MACs and writes cookie replies. `CookieJar` is the calling
side, one a peer: it signs messages and keeps the cookie that the peer gave. Refuses to know when a
device is under load. Called by identity, handshake and peer.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Callable, Optional

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from agent.wireguard.constants import COOKIE_MAX_AGE, COOKIE_SECRET_MAX_AGE, KEY_SIZE
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.messages import MAC_SIZE, MACS_SIZE, CookieReply, sender_of
from agent.wireguard.noise import blake2s

NONCE_SIZE = 24

_NO_MAC = bytes(MAC_SIZE)


def _mac(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2s(data, key=key, digest_size=MAC_SIZE).digest()


def _mac1_key(public_key: bytes) -> bytes:
    return blake2s(b"mac1----" + public_key)


def _cookie_key(public_key: bytes) -> bytes:
    return blake2s(b"cookie--" + public_key)


class CookieChecker:
    """Checks what is sent to the owner of `public_key`."""

    def __init__(self, public_key: bytes, random: Callable[[int], bytes]) -> None:
        self._mac1_key = _mac1_key(public_key)
        self._cookie_key = _cookie_key(public_key)
        self._random = random
        self._secret = b""
        self._secret_born = 0.0

    def has_mac1(self, message: bytes) -> bool:
        """Whether the sender of an initiation or response knows our public key."""
        mac1 = _mac(self._mac1_key, message[:-MACS_SIZE])
        return hmac.compare_digest(mac1, message[-MACS_SIZE:-MAC_SIZE])

    def has_mac2(self, message: bytes, source: Endpoint, now: float) -> bool:
        """Whether the sender got a cookie at this very address and port, from the secret in use."""
        mac2 = _mac(self._cookie(source, now), message[:-MAC_SIZE])
        return hmac.compare_digest(mac2, message[-MAC_SIZE:])

    def reply(self, message: bytes, source: Endpoint, now: float) -> bytes:
        """The cookie reply to an initiation or response with a valid mac1."""
        nonce = self._random(NONCE_SIZE)
        mac1 = message[-MACS_SIZE:-MAC_SIZE]
        cookie = crypto_aead_xchacha20poly1305_ietf_encrypt(
            self._cookie(source, now), mac1, nonce, self._cookie_key
        )
        return CookieReply(sender_of(message), nonce, cookie).pack()

    def _cookie(self, source: Endpoint, now: float) -> bytes:
        if not self._secret or now >= self._secret_born + COOKIE_SECRET_MAX_AGE:
            self._secret = self._random(KEY_SIZE)
            self._secret_born = now
        return _mac(self._secret, source.ip + source.port.to_bytes(2, "big"))


class CookieJar:
    """Signs what is sent to the owner of `public_key`, with the cookie that they gave, if any."""

    def __init__(self, public_key: bytes) -> None:
        self._mac1_key = _mac1_key(public_key)
        self._cookie_key = _cookie_key(public_key)
        self._cookie = b""
        self._cookie_born = 0.0
        self._mac1: Optional[bytes] = None

    def sign(self, message: bytes, now: float) -> bytes:
        """The message with both MACs."""
        mac1 = _mac(self._mac1_key, message)
        self._mac1 = mac1
        message += mac1
        if self._cookie and now < self._cookie_born + COOKIE_MAX_AGE:
            return message + _mac(self._cookie, message)
        return message + _NO_MAC

    def open(self, reply: CookieReply, now: float) -> bool:
        """Keeps the cookie of an authentic answer to the last message; one answer a message."""
        if self._mac1 is None:
            return False
        try:
            self._cookie = crypto_aead_xchacha20poly1305_ietf_decrypt(
                reply.cookie, self._mac1, reply.nonce, self._cookie_key
            )
        except CryptoError:
            return False
        self._cookie_born = now
        self._mac1 = None
        return True
