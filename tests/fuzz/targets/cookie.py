"""Cookie replies, sealed and raw, and the cookies that we hand out ourselves."""

from __future__ import annotations

import hashlib

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)

from agent.wireguard.constants import COOKIE_MAX_AGE, COOKIE_SECRET_MAX_AGE
from agent.wireguard.cookie import CookieChecker, CookieJar
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.messages import INITIATION, INITIATION_SIZE, CookieReply, unpack_cookie_reply
from tests.agent.wireguard.network import Network
from tests.fuzz.reader import Reader

TOKENS = (b"\3\0\0\0",)
_MOST_ACTIONS = 12


class _Caller:
    """A device that calls a peer which never answers but with cookies."""

    def __init__(self) -> None:
        self.network = Network()
        self.node = self.network.node()
        self.silent = Network(2).node()
        public = self.silent.device.public_key
        assert public is not None
        self.key = hashlib.blake2s(b"cookie--" + public).digest()
        peer = self.node.device.add_peer(public, self.network.now)
        self.source = Endpoint(bytes((192, 0, 2, 99)), 9)
        self.node.device.set_endpoint(peer, self.source, self.network.now)
        self.node.device.set_keepalive(peer, 5, self.network.now)
        self.cookie = b""
        self.born = 0.0
        self.last = b""
        self.is_answered = True
        self.wait(0.1)
        assert self.last

    def wait(self, seconds: float) -> None:
        """Initiations carry the cookie while it is fresh, and zeros otherwise."""
        self.network.run(seconds)
        for at, datagram in self.node.sent(INITIATION):
            self.last = datagram.data
            self.is_answered = False
            assert len(self.last) == INITIATION_SIZE
            if self.cookie and at < self.born + COOKIE_MAX_AGE:
                expected = hashlib.blake2s(self.last[:-16], key=self.cookie, digest_size=16).digest()
            else:
                expected = bytes(16)
            assert self.last[-16:] == expected

    def give(self, message: bytes) -> None:
        """Nothing answers a cookie reply."""
        device = self.node.device
        device.receive([(message, self.source, 0)], self.network.now)
        assert device.take() == ([], [])


def check(data: bytes) -> None:
    """Replies, waits and calls to ourselves."""
    reader = Reader(data)
    caller = _Caller()
    for _ in range(_MOST_ACTIONS):
        if not reader:
            break
        action = reader.number() % 4
        if action == 0:
            _reply(caller, reader)
        elif action == 1:
            caller.give(b"\3\0\0\0" + reader.take(60))
        elif action == 2:
            caller.wait(reader.number() / 4)
        else:
            _ask(reader)


def _reply(caller: _Caller, reader: Reader) -> None:
    how, cookie, nonce = reader.number(), reader.take(16), reader.take(24)
    receiver = caller.last[4:8] if not how & 1 else reader.take(4)
    mac1 = caller.last[-32:-16] if not how & 2 else reader.take(16)
    sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(cookie, mac1, nonce, caller.key)
    is_right = receiver == caller.last[4:8] and mac1 == caller.last[-32:-16]
    caller.give(CookieReply(int.from_bytes(receiver, "little"), nonce, sealed).pack())
    if is_right and not caller.is_answered:
        caller.cookie, caller.born = cookie, caller.network.now.monotonic
        caller.is_answered = True


def _ask(reader: Reader) -> None:
    """A cookie opens the door for one address and port, for as long as its secret lives."""
    public = b"p" * 32
    message = CookieJar(public).sign(reader.take(INITIATION_SIZE - 32), 0)
    source = Endpoint(reader.take(16 if reader.number() & 1 else 4), reader.number(2))
    checker = CookieChecker(public, lambda count: bytes(range(count)))
    assert checker.has_mac1(message)
    packed = checker.reply(message, source, 0)
    assert len(packed) < len(message)
    reply = unpack_cookie_reply(packed)
    cookie = crypto_aead_xchacha20poly1305_ietf_decrypt(
        reply.cookie, message[-32:-16], reply.nonce, hashlib.blake2s(b"cookie--" + public).digest()
    )
    signed = message[:-16] + hashlib.blake2s(message[:-16], key=cookie, digest_size=16).digest()
    other = source._replace(port=source.port ^ 1)
    for at in (0.0, COOKIE_SECRET_MAX_AGE - 1.0):
        assert checker.has_mac2(signed, source, at)
        assert not checker.has_mac2(signed, other, at)
