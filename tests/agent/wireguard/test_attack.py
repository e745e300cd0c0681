"""Under attack, from anybody and from a peer: what holds meanwhile, what a turn costs, and what comes after.

The loop is played as agent.tunnel plays it: at most `BATCH` datagrams a turn, then whatever is due.
"""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterable

import pytest

from agent.wireguard.constants import (
    HANDSHAKE_BURST,
    HANDSHAKES_PER_SECOND,
    INITIATION_INTERVAL,
    MAX_QUEUED_HANDSHAKES,
    REJECT_AFTER_MESSAGES,
    REPLAY_WINDOW,
    UNDER_LOAD_FROM,
)
from agent.wireguard.cookie import CookieJar
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.messages import COOKIE_REPLY, INITIATION, RESPONSE
from agent.wireguard.x25519 import PrivateKey
from tests.agent.wireguard.network import Network, Node, each, packet
from tests.agent.wireguard.puppet import Puppet, Session

BATCH = 64
FLOOD = 8000
ATTACKER = Endpoint(b"\xc6\x33\x64\x42", 4242)


@pytest.fixture
def agreements(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often anybody computed a shared secret so far, in its only item: what handshakes cost."""
    count = [0]
    shared = PrivateKey.shared

    def counted(key: PrivateKey, public: bytes) -> bytes:
        count[0] += 1
        return shared(key, public)

    monkeypatch.setattr(PrivateKey, "shared", counted)
    return count


def _turn(node: Node, messages: Iterable[bytes], source: Endpoint = ATTACKER) -> None:
    now = node.network.now
    node.device.receive([(message, source, 0) for message in messages], now)
    deadline = node.device.deadline()
    if deadline is not None and deadline <= now.monotonic:
        node.device.advance(now)


def _initiations(node: Node, count: int) -> list[bytes]:
    """From nobody, with a valid mac1."""
    assert node.device.public_key is not None
    jar = CookieJar(node.device.public_key)
    start = INITIATION.to_bytes(4, "little")
    return [jar.sign(start + node.network.random.randbytes(112), 0.0) for _ in range(count)]


def _batches(messages: list[bytes]) -> Iterable[list[bytes]]:
    return (messages[at : at + BATCH] for at in range(0, len(messages), BATCH))


def _befriend(network: Network, node: Node) -> tuple[Puppet, Session]:
    """A peer of the node that does what it is told, and its session."""
    assert node.device.public_key is not None
    puppet = Puppet(node.device.public_key)
    peer = node.device.add_peer(puppet.static.public, network.now)
    node.device.take()
    _turn(node, [puppet.call(1)])
    for datagram in each(node.device.take()):
        puppet.hear(datagram.data)
    (session,) = puppet.sessions
    _turn(node, [puppet.say(session, b"")])
    assert peer.latest_handshake is not None
    return puppet, session


def test_a_burst_of_initiations_costs_little_a_turn_and_stops_nobody(agreements: list[int]) -> None:
    network = Network()
    one, other = network.connected()
    costs, answers, heard = [], 0, 0
    for number, batch in enumerate(_batches(_initiations(other, FLOOD))):
        before = agreements[0]
        one.say(other, b"%d" % number)
        (said,) = (datagram.data for datagram in each(one.device.take()))
        _turn(other, [*batch[:32], said, *batch[32:]])
        costs.append(agreements[0] - before)
        output = other.device.take()
        answers += sum(datagram.data[0] == COOKIE_REPLY for datagram in each(output))
        heard += len(output.packets)
    assert heard == len(costs) == FLOOD // BATCH
    assert max(costs) <= BATCH // 4
    assert answers > FLOOD // 2
    newcomer = network.node()
    network.acquaint(newcomer, other)
    network.run(2)
    newcomer.say(other, b"two seconds later")
    network.run(0.1)
    assert b"two seconds later" in other.heard()


def test_a_burst_in_one_go_fills_the_queue_and_no_more() -> None:
    network = Network()
    one, other = network.connected()
    messages = _initiations(other, FLOOD)
    other.device.receive([(message, ATTACKER, 0) for message in messages], network.now)
    assert other.device.drops["too many handshakes"] == FLOOD - MAX_QUEUED_HANDSHAKES
    one.say(other, b"meanwhile")
    network.run(0.1)
    assert other.heard() == [b"meanwhile"]
    network.run(2)
    newcomer = network.node()
    network.acquaint(newcomer, other)
    newcomer.say(other, b"later")
    network.run(0.1)
    assert other.heard() == [b"later"]


@pytest.mark.slow
def test_what_a_flood_leaves_in_memory() -> None:
    """The full queue, and as many sources as are told apart: 16 MB at most."""
    network = Network()
    _, other = network.connected()
    messages = _initiations(other, FLOOD)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for at, message in enumerate(messages):
            source = Endpoint(at.to_bytes(2, "big") + bytes(14), 1)
            other.device.receive([(bytes(bytearray(message)), source, 0)] * 2, network.now)
        limiter = other.device._state.handshake_limiter
        for number in range(100_000):
            limiter.allows(number.to_bytes(8, "big"), network.now.monotonic)
        _, peak = tracemalloc.get_traced_memory()
        other.device.take()
        network.run(3)
        limiter.allows(b"new", network.now.monotonic)
        other.sent()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 16 << 20
    assert after - before < 4 << 20


def test_a_peer_that_calls_all_the_time_is_answered_at_its_rate() -> None:
    network = Network()
    one, other = network.connected()
    puppet, _ = _befriend(network, other)
    answered = 0
    for name in range(2, 1002):
        network.sleep(0.001)
        _turn(other, [puppet.call(name)])
        answered += sum(datagram.data[0] == RESPONSE for datagram in each(other.device.take()))
    assert 40 <= answered <= 1 / INITIATION_INTERVAL
    assert len(list(other.device.peers[puppet.static.public].keypairs)) == 2
    assert len(other.device._state.indices._entries) == 3
    one.say(other, b"goes on")
    network.run(0.1)
    assert b"goes on" in other.heard()


def test_under_load_a_peer_with_a_cookie_has_the_rate_of_its_source() -> None:
    network = Network()
    _, other = network.connected()
    assert other.device.public_key is not None
    puppet, _ = _befriend(network, other)
    answered = 0
    for name in range(2, 42):
        network.sleep(0.025)
        _turn(other, _initiations(other, UNDER_LOAD_FROM + 8), ATTACKER._replace(port=1))
        _turn(other, [puppet.call(name)])
        while other.device.deadline() == float("-inf"):
            other.device.advance(network.now)
        for datagram in each(other.device.take()):
            if datagram.endpoint == ATTACKER and datagram.data[0] == COOKIE_REPLY:
                puppet.take_cookie(datagram.data)
            answered += datagram.data[0] == RESPONSE
    assert 1 < answered <= HANDSHAKES_PER_SECOND + HANDSHAKE_BURST


def test_datagrams_of_every_length_and_type() -> None:
    network = Network()
    one, other = network.connected()
    chance = random.Random(5)
    keypair = one.peer(other).keypairs.current
    assert keypair is not None
    count = 0
    for size in range(2001):
        messages = [chance.randbytes(size)]
        messages += [(kind.to_bytes(4, "little") + chance.randbytes(size))[:size] for kind in range(6)]
        messages += [(keypair.prefix + chance.randbytes(size))[:size]]
        _turn(other, messages)
        count += len(messages)
    assert sum(other.device.drops.values()) == count
    assert other.device.take() == ([], [])
    one.say(other, b"still here")
    network.run(0.1)
    assert other.heard() == [b"still here"]


def test_everything_said_is_replayed_and_nothing_comes_of_it() -> None:
    network = Network()
    one, other = network.pair()
    for number in range(300):
        one.say(other, b"%d" % number)
        other.say(one, b"%d" % number)
        network.run(1)
    ours = [datagram.data for _, datagram in one.sent()]
    theirs = [datagram.data for _, datagram in other.sent()]
    one.heard(), other.heard()
    for _ in range(3):
        for batch in _batches(ours + theirs):
            for node in (one, other):
                _turn(node, batch)
    network.run(0.1)
    assert (one.heard(), other.heard()) == ([], [])
    assert one.peer(other).endpoint == other.endpoint
    assert other.peer(one).endpoint == one.endpoint
    one.say(other, b"goes on")
    network.run(0.1)
    assert other.heard() == [b"goes on"]


def test_a_peer_whose_counters_come_in_any_order_and_jump() -> None:
    network = Network()
    _, other = network.connected()
    puppet, session = _befriend(network, other)
    chance = random.Random(6)
    counters = list(range(1, REPLAY_WINDOW + 1))
    chance.shuffle(counters)
    messages = [puppet.say(session, b"", counter) for counter in counters]
    received = other.device.peers[puppet.static.public].rx_bytes
    for batch in _batches(messages * 2):
        _turn(other, batch)
    assert other.device.peers[puppet.static.public].rx_bytes == received + 32 * REPLAY_WINDOW
    assert other.device.drops == {"data replayed": REPLAY_WINDOW}
    other.device.drops.clear()
    jump = 1 << 63
    for counter, reason in (
        (jump, ""),
        (REPLAY_WINDOW + 1, "data replayed"),
        (jump - REPLAY_WINDOW, ""),
        (jump - REPLAY_WINDOW - 1, "data replayed"),
        (jump, "data replayed"),
        (REJECT_AFTER_MESSAGES - 1, ""),
        (REJECT_AFTER_MESSAGES, "counter beyond the limit"),
        ((1 << 64) - 1, "counter beyond the limit"),
    ):
        before = other.device.drops.copy()
        _turn(other, [puppet.say(session, b"", counter)])
        changed = {key for key, value in other.device.drops.items() if value != before.get(key, 0)}
        assert changed == ({reason} if reason else set()), counter


def test_a_peer_that_lies_about_sources_and_lengths_harms_nobody() -> None:
    network = Network()
    one, other = network.connected()
    puppet, session = _befriend(network, other)
    spoofed = packet(one.address, other.address, body=b"spoofed")
    chance = random.Random(7)
    inners = [spoofed]
    for _ in range(2000):
        lying = bytearray(spoofed[: chance.randrange(1, 85)] + chance.randbytes(chance.randrange(40)))
        lying[0] = chance.choice((0x45, 0x60, 0x4F, 0x00))
        if len(lying) > 6:
            lying[2:6] = chance.randbytes(4)
        inners.append(bytes(lying))
    for batch in _batches([puppet.say(session, inner) for inner in inners]):
        _turn(other, batch)
    assert other.device.take().packets == []
    assert sum(other.device.drops.values()) == len(inners)
    one.say(other, b"true")
    network.run(0.1)
    assert other.heard() == [b"true"]
