"""Datagrams of somebody without keys, to a device with a session: they move nothing and cost little."""

from __future__ import annotations

import math
from functools import cache

from agent.wireguard.constants import MAX_QUEUED_HANDSHAKES
from agent.wireguard.cookie import CookieJar
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.messages import INITIATION_SIZE, MACS_SIZE, RESPONSE_SIZE, unpack_cookie_reply
from tests.agent.wireguard.network import LATENCY, Network, Node, each
from tests.fuzz.reader import Reader

TOKENS = (b"\1\0\0\0", b"\2\0\0\0", b"\3\0\0\0", b"\4\0\0\0", b"\x40\0", b"\x5c\0", b"\x94\0")
_MOST_ACTIONS = 8
_MOST_FLOODS = 2
_FLOOD = 600
"""Enough for the device to be under load."""


class _Attack:
    def __init__(self) -> None:
        self.network = Network()
        self.victim, self.friend = self.network.pair()
        self.messages = self._recorded()
        self.peer = self.victim.peer(self.friend)
        self.endpoint = self.peer.endpoint
        self.received = self.sent = 0
        key = self.victim.device.public_key
        assert key is not None
        self.key = key
        self.jar = CookieJar(key)
        self.floods = 0

    def _recorded(self) -> list[bytes]:
        """An initiation, data and a keepalive that the victim took."""
        friend = self.friend
        friend.say(self.victim, b"first")
        self.network.run(LATENCY * 2.5)
        friend.say(self.victim, b"second")
        self.network.run(LATENCY)
        assert self.victim.heard() == [b"first", b"second"]
        self.victim.sent()
        return [datagram.data for _, datagram in friend.sent()]

    def throw(self, messages: list[bytes], reader: Reader) -> None:
        """Each of them is dropped or waits in the queue, and nothing else has changed."""
        source = Endpoint(bytes((203, 0, 113, reader.number() & 3)), 1000)
        device = self.victim.device
        drops, waiting = sum(device.drops.values()), len(device._state.queue)
        keypairs, counted = list(self.peer.keypairs), self.peer.rx_bytes
        device.receive([(message, source, 3) for message in messages], self.network.now)
        output = device.take()
        assert output.packets == []
        assert sum(device.drops.values()) - drops == len(messages) + waiting - len(device._state.queue)
        assert len(device._state.queue) <= MAX_QUEUED_HANDSHAKES
        assert self.peer.endpoint == self.endpoint
        assert (list(self.peer.keypairs), self.peer.rx_bytes) == (keypairs, counted)
        self.received += sum(map(len, messages))
        for datagram in each(output):
            assert datagram.endpoint.ip[:3] == source.ip[:3]
            self.sent += len(datagram.data)
            self.jar.open(unpack_cookie_reply(datagram.data), 0)
        assert self.sent <= self.received

    def signed(self, reader: Reader) -> bytes:
        kind = reader.number() % 2 + 1
        size = INITIATION_SIZE if kind == 1 else RESPONSE_SIZE
        body = bytes((kind, 0, 0, 0)) + reader.take(size - MACS_SIZE - 4)
        return self.jar.sign(body, 0)

    def changed(self, reader: Reader) -> bytes:
        message = bytearray(self.messages[reader.number() % len(self.messages)])
        message[reader.number() % len(message)] ^= reader.number()
        return bytes(message)

    def flood(self) -> list[bytes]:
        """Initiations with the right mac1 and nothing behind it; none where there was enough of that."""
        self.floods += 1
        return _flood_of(self.key) if self.floods <= _MOST_FLOODS else []


@cache
def _flood_of(public_key: bytes) -> list[bytes]:
    jar = CookieJar(public_key)
    filling = bytes(INITIATION_SIZE - MACS_SIZE - 8)
    return [jar.sign(b"\1\0\0\0" + number.to_bytes(4, "little") + filling, 0) for number in range(_FLOOD)]


def check(data: bytes) -> None:
    """Actions, then a friend must be heard as ever."""
    reader = Reader(data)
    attack = _Attack()
    for _ in range(_MOST_ACTIONS):
        if not reader:
            break
        action = reader.number() % 6
        if action == 0:
            attack.throw([reader.piece()], reader)
        elif action == 1:
            while attack.victim.device.deadline() == -math.inf:
                attack.victim.device.advance(attack.network.now)
            attack.throw([attack.signed(reader)], reader)
        elif action == 2:
            attack.throw([attack.changed(reader)], reader)
        elif action == 3:
            attack.throw(attack.flood(), reader)
        elif action == 4:
            _pass_time(attack, reader.number() / 16)
        else:
            attack.throw([reader.piece(), attack.changed(reader), reader.piece()], reader)
    _pass_time(attack, 2)
    attack.friend.say(attack.victim, b"well")
    _run(attack.network, attack.victim, 12)
    assert attack.victim.heard() == [b"well"]


def _pass_time(attack: _Attack, seconds: float) -> None:
    """What is answered meanwhile counts as answered to the attacker, but for what goes to the friend."""
    _run(attack.network, attack.victim, seconds)
    for _, datagram in attack.victim.sent():
        if datagram.endpoint.ip != attack.friend.endpoint.ip:
            attack.sent += len(datagram.data)
    assert attack.sent <= attack.received


def _run(network: Network, victim: Node, seconds: float) -> None:
    network.run(seconds)
    deadline = victim.device.deadline()
    assert deadline is None or deadline > network.now.monotonic
