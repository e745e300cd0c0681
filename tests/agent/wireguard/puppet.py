"""A peer without a will of its own: it says what a test tells it to, and nothing else.

It knows the protocol's messages and cryptography, but neither time nor state beyond the sessions made.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from agent.wireguard.cookie import CookieJar
from agent.wireguard.messages import (
    DATA,
    INITIATION,
    RESPONSE,
    Initiation,
    Response,
    unpack_cookie_reply,
    unpack_data_header,
    unpack_initiation,
    unpack_response,
)
from agent.wireguard.noise import Initiator, Responder
from agent.wireguard.tai64n import stamp
from agent.wireguard.x25519 import PrivateKey
from tests.agent.wireguard.network import EPOCH

PSK = bytes(32)


class Session(NamedTuple):
    """A session by the name that the test gave it. `number` is the puppet's index, `remote` the device's."""

    name: int
    number: int
    remote: int
    seal: ChaCha20Poly1305
    open: ChaCha20Poly1305


class Puppet:
    """Speaks to the device whose public key is `public`. Its indices count up."""

    def __init__(self, public: bytes, key: bytes = b"p" * 32) -> None:
        self.static = PrivateKey(key)
        self.sessions: list[Session] = []
        self.initiations: list[Initiation] = []
        self._public = public
        self._shared = self.static.shared(public)
        self._jar = CookieJar(public)
        self._made = 0
        self._counters: dict[int, int] = {}
        self._called: dict[int, tuple[int, Initiator]] = {}
        self._stamp = bytes(12)

    def call(self, name: int) -> bytes:
        """An initiation for the session `name`, each with a later timestamp."""
        initiator = Initiator(self.static, self._ephemeral(), self._public, self._shared)
        self._stamp = stamp(EPOCH, self._stamp)
        message = Initiation(self._made, *initiator.write(self._stamp))
        self._called[self._made] = name, initiator
        return self._jar.sign(message.pack(), 0.0)

    def answer(self, name: int, initiation: Initiation) -> bytes:
        """A response to what the device sent, for the session `name`."""
        responder = Responder(self.static)
        public = responder.read_static(initiation.ephemeral, initiation.static)
        responder.read_payload(initiation.timestamp, self.static.shared(public))
        ephemeral, nothing, transcript = responder.write(self._ephemeral(), PSK)
        self._add(name, self._made, initiation.sender, transcript.split()[::-1])
        return self._jar.sign(Response(self._made, initiation.sender, ephemeral, nothing).pack(), 0.0)

    def say(self, session: Session, packet: bytes, counter: Optional[int] = None) -> bytes:
        """A data message with the next counter, or this one."""
        number = self._counters[session.number] if counter is None else counter
        self._counters[session.number] = number + 1
        nonce = number.to_bytes(8, "little")
        header = DATA.to_bytes(4, "little") + session.remote.to_bytes(4, "little") + nonce
        return header + session.seal.encrypt(bytes(4) + nonce, packet, None)

    def hear(self, data: bytes) -> tuple[str, Optional[int]]:
        """What a message of the device is, and the name of the session that data belongs to."""
        if data[0] == INITIATION:
            self.initiations.append(unpack_initiation(data))
            return "initiation", None
        if data[0] == RESPONSE:
            response = unpack_response(data)
            name, initiator = self._called.pop(response.receiver)
            _, transcript = initiator.read(response.ephemeral, response.nothing, PSK)
            self._add(name, response.receiver, response.sender, transcript.split())
            return "response", name
        _, index, counter = unpack_data_header(data)
        (session,) = (session for session in self.sessions if session.number == index)
        plain = session.open.decrypt(bytes(4) + counter.to_bytes(8, "little"), data[16:], None)
        return "data" if plain else "keepalive", session.name

    def take_cookie(self, data: bytes) -> None:
        """From now on messages carry this cookie, if the reply is to the last one."""
        assert self._jar.open(unpack_cookie_reply(data), 0.0)

    def _ephemeral(self) -> PrivateKey:
        self._made += 1
        return PrivateKey(self._made.to_bytes(4, "big") * 8)

    def _add(self, name: int, index: int, remote: int, keys: tuple[bytes, ...]) -> None:
        seal, opener = map(ChaCha20Poly1305, keys)
        self.sessions.append(Session(name, index, remote, seal, opener))
        self._counters[index] = 0
