"""Handshakes with the right keys around fields of any kind: a session arises exactly where it should."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from agent.wireguard.clock import Time
from agent.wireguard.constants import INITIATION_INTERVAL
from agent.wireguard.cookie import CookieJar
from agent.wireguard.device import Device
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.messages import (
    DATA_HEADER_SIZE,
    INITIATION,
    INITIATION_SIZE,
    MACS_SIZE,
    RESPONSE,
    RESPONSE_SIZE,
    Initiation,
    Response,
    unpack_initiation,
    unpack_response,
)
from agent.wireguard.noise import Initiator, Responder, Transcript
from agent.wireguard.x25519 import PrivateKey
from tests.agent.wireguard.network import Datagram, Network, each, packet
from tests.fuzz.reader import Reader

LOW_ORDER = (  # RFC 7748 section 6.1 and the points that https://cr.yp.to/ecdh.html#validate lists
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    b"\xec" + b"\xff" * 30 + b"\x7f",
)
TOKENS = (*LOW_ORDER, b"\x40" + bytes(11), b"\x40\0\0\0\x65\x53\xf1\0\0\0\0\0")
_FRIEND, _STRANGER = PrivateKey(b"f" * 32), PrivateKey(b"s" * 32)
_SOURCE = Endpoint(bytes((192, 0, 2, 9)), 9)
_MOST_ACTIONS = 8


@dataclass
class _World:
    network: Network = field(default_factory=Network)
    psk: bytes = bytes(32)
    latest: bytes = bytes(12)
    last: float = float("-inf")

    def __post_init__(self) -> None:
        self.device = Device(self.network.random.randbytes)
        self.static = PrivateKey(b"d" * 32)
        self.device.set_private_key(self.static.data, self.now)
        self.device.up(self.now)
        self.peer = self.device.add_peer(_FRIEND.public, self.now)
        self.device.allowed_ips.insert(ip_network("10.0.0.2/32"), self.peer)
        self.device.set_endpoint(self.peer, _SOURCE, self.now)
        self.jar = CookieJar(self.static.public)

    @property
    def now(self) -> Time:
        return self.network.now

    def give(self, message: bytes) -> list[Datagram]:
        self.device.receive([(self.jar.sign(message, 0), _SOURCE, 0)], self.now)
        output = self.device.take()
        assert output.packets == []
        return each(output)


def check(data: bytes) -> None:
    """A pre-shared key, then calls, answers and waits."""
    reader = Reader(data)
    world = _World(psk=reader.take(32))
    world.peer.preshared_key = world.psk
    for _ in range(_MOST_ACTIONS):
        if not reader:
            break
        action = reader.number() % 3
        if action == 0:
            _call(world, reader)
        elif action == 1:
            _answer(world, reader)
        else:
            world.network.run(reader.number(2) / 1000)
            world.device.advance(world.now)
            world.device.take()
        assert len(list(world.peer.keypairs)) <= 3
        assert len(world.device._state.indices._entries) <= 4


def _call(world: _World, reader: Reader) -> None:
    """An initiation to the device: who, with which ephemeral, time stamp and index."""
    who, ephemeral = reader.number() % 4, reader.take(32)
    replaced, timestamp, sender = reader.number() & 1, reader.take(12), reader.number(4)
    static = (_FRIEND, _FRIEND, _STRANGER, world.static)[who]
    initiator = Initiator(
        static, PrivateKey(ephemeral), world.static.public, static.shared(world.static.public)
    )
    public, sealed_static, sealed_timestamp = initiator.write(timestamp)
    if replaced:
        public = ephemeral
    is_good = (
        static is _FRIEND
        and not replaced
        and timestamp > world.latest
        and world.now.monotonic >= world.last + INITIATION_INTERVAL
    )
    answers = world.give(Initiation(sender, public, sealed_static, sealed_timestamp).pack())
    assert len(answers) == is_good
    if not is_good:
        return
    world.latest, world.last = timestamp, world.now.monotonic
    (answer,) = answers
    assert answer.endpoint == _SOURCE
    assert len(answer.data) == RESPONSE_SIZE
    assert answer.data[0] == RESPONSE
    response = unpack_response(answer.data)
    assert response.receiver == sender
    nothing, transcript = initiator.read(response.ephemeral, response.nothing, world.psk)
    assert nothing == b""
    if reader.number() & 1:
        _speak(world, response.sender, transcript, True)


def _answer(world: _World, reader: Reader) -> None:
    """A response to the device's own initiation, if it makes one now."""
    how, ephemeral, receiver = reader.number(), reader.take(32), reader.number(4)
    psk = reader.take(32) if how & 1 else world.psk
    world.device.send([packet("10.0.0.1", "10.0.0.2")], world.now)
    sent = [datagram.data for datagram in each(world.device.take()) if datagram.data[0] == INITIATION]
    if not sent:
        return
    (message,) = sent
    assert len(message) == INITIATION_SIZE
    call = unpack_initiation(message[:-MACS_SIZE])
    responder = Responder(_FRIEND)
    assert responder.read_static(call.ephemeral, call.static) == world.static.public
    responder.read_payload(call.timestamp, _FRIEND.shared(world.static.public))
    public, nothing, transcript = responder.write(PrivateKey(ephemeral), psk)
    if how & 2:
        public = ephemeral
    if not how & 4:
        receiver = call.sender
    is_good = psk == world.psk and receiver == call.sender and not how & 2
    answers = world.give(Response(77, receiver, public, nothing).pack())
    assert bool(answers) == is_good
    if is_good:
        opener = ChaCha20Poly1305(transcript.split()[0])
        for answer in answers:
            assert answer.data[4:8] == (77).to_bytes(4, "little")
            opener.decrypt(bytes(4) + answer.data[8:16], answer.data[DATA_HEADER_SIZE:], None)
        _speak(world, call.sender, transcript, False)


def _speak(world: _World, index: int, transcript: Transcript, is_initiator: bool) -> None:
    """The session carries a packet, once."""
    inner = packet("10.0.0.2", "10.0.0.1")
    sealer = ChaCha20Poly1305(transcript.split()[0 if is_initiator else 1])
    header = b"\4\0\0\0" + index.to_bytes(4, "little")
    message = header + bytes(8) + sealer.encrypt(bytes(12), inner, None)
    for expected in ([inner], []):
        world.device.receive([(message, _SOURCE, 0)], world.now)
        assert world.device.take().packets == expected
