"""The counters of messages and of bytes."""

from __future__ import annotations

import pytest

from agent.wireguard.constants import REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES
from agent.wireguard.messages import DATA, INITIATION
from tests.agent.wireguard.network import Network, Node, packet


def test_counters_after_ten_pings() -> None:
    network = Network()
    one, other = network.pair()
    for _ in range(10):
        one.say(other, size=84)
        network.run(0.1)
        other.say(one, size=84)
        network.run(0.1)
    assert (one.peer(other).rx_bytes, one.peer(other).tx_bytes) == (1372, 1428)
    assert (other.peer(one).rx_bytes, other.peer(one).tx_bytes) == (1428, 1372)
    network.run(60)
    assert one.peer(other).tx_bytes == 1460
    assert other.peer(one).rx_bytes == 1460


def test_the_last_counters_of_a_session() -> None:
    network = Network()
    one, other = network.connected()
    keypair = one.peer(other).keypairs.current
    assert keypair is not None
    keypair.counter = REJECT_AFTER_MESSAGES - 2
    network.run(5)
    batch = [packet(one.address, other.address, body=b"%d" % number) for number in range(5)]
    one.device.send(batch, network.now)
    network.run(0.1)
    kinds = [datagram.data[0] for _, datagram in one.sent()]
    assert kinds == [DATA, DATA, INITIATION, DATA, DATA, DATA]
    assert other.heard() == [b"0", b"1", b"2", b"3", b"4"]


def test_a_session_without_counters_sends_nothing_more() -> None:
    network = Network()
    one, other = network.connected()
    keypair = one.peer(other).keypairs.current
    assert keypair is not None
    keypair.counter = REJECT_AFTER_MESSAGES
    network.run(5)
    one.say(other, b"staged")
    (row,) = one.device.take().datagrams
    assert [payload[0] for payload in row.payloads()] == [INITIATION]
    assert keypair.counter == REJECT_AFTER_MESSAGES


def test_counters_beyond_the_limit_are_refused_unopened() -> None:
    network = Network()
    one, other = network.connected()
    keypair = one.peer(other).keypairs.current
    assert keypair is not None
    nonce = REJECT_AFTER_MESSAGES.to_bytes(8, "little")
    sealed = keypair.sealer.encrypt(bytes(4) + nonce, b"", None)
    other.device.receive([(keypair.prefix + nonce + sealed, one.endpoint, 0)], network.now)
    assert other.device.drops == {"counter beyond the limit": 1}


@pytest.mark.parametrize("side", [0, 1])
def test_either_side_renews_a_session_of_too_many_messages(side: int) -> None:
    network = Network()
    pair = network.connected()
    one, other = pair[side], pair[1 - side]
    network.run(6)
    keypair = one.peer(other).keypairs.current
    assert keypair is not None
    keypair.counter = REKEY_AFTER_MESSAGES
    one.sent()
    one.say(other)
    network.run(0.1)
    assert _kinds(one)[:2] == [DATA, INITIATION]


def _kinds(node: Node) -> list[int]:
    return [datagram.data[0] for _, datagram in node.sent()]
