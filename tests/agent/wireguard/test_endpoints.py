"""Roaming: whom a device answers, and from which address of its own."""

from __future__ import annotations

from agent.wireguard.endpoint import Endpoint
from agent.wireguard.messages import DATA
from tests.agent.wireguard.network import LATENCY, Datagram, Network, Node, each, packet

ELSEWHERE = Endpoint(b"\xc6\x33\x64\x07", 1234, source=b"\xc0\0\2\2", source_interface=3)


def _datagrams(node: Node, kind: int) -> list[bytes]:
    return [d.data for d in each(node.device.take()) if d.data[0] == kind]


def test_a_peer_that_moved_is_answered_where_it_is() -> None:
    network = Network()
    one, other = network.connected()
    one.endpoint = ELSEWHERE
    one.say(other, b"moved")
    network.run(0.1)
    assert other.peer(one).endpoint == ELSEWHERE
    other.say(one, b"found")
    network.run(0.1)
    assert one.heard() == [b"found"]


def test_handshakes_move_the_endpoint() -> None:
    network = Network()
    one, other = network.node(), network.node()
    network.acquaint(one, other)
    other.endpoint = other.endpoint._replace(source=b"\xc0\0\2\1")
    one.say(other)
    network.run(1.5 * LATENCY)
    assert other.peer(one).endpoint == one.endpoint
    network.run(0.1)
    assert one.peer(other).endpoint == other.endpoint


def test_a_forbidden_inner_source_still_moves_the_endpoint() -> None:
    network = Network()
    one, other = network.connected()
    one.send(packet("10.9.9.9", other.address))
    (data,) = _datagrams(one, DATA)
    other.device.receive([(data, ELSEWHERE, 0)], network.now)
    assert other.device.take().packets == []
    assert other.peer(one).endpoint == ELSEWHERE


def test_nothing_else_moves_the_endpoint() -> None:
    network = Network()
    one, other = network.connected()
    one.say(other)
    (data,) = _datagrams(one, DATA)
    other.device.receive([(data, one.endpoint, 0)], network.now)
    broken = data[:-1] + bytes((data[-1] ^ 1,))
    unknown = data[:4] + bytes(4) + data[8:]
    for message in (data, broken, unknown):
        other.device.receive([(message, ELSEWHERE, 0)], network.now)
    assert other.peer(one).endpoint == one.endpoint
    assert other.device.drops == {
        "data replayed": 1,
        "data not authentic": 1,
        "data of unknown session": 1,
    }


def test_the_last_authentic_message_of_a_batch_counts() -> None:
    network = Network()
    one, other = network.connected()
    one.say(other, b"a")
    one.say(other, b"b")
    first, second = _datagrams(one, DATA)
    broken = second[:-1] + bytes((second[-1] ^ 1,))
    batch = [(first, ELSEWHERE, 0), (broken, one.endpoint, 0)]
    other.device.receive(batch, network.now)
    assert other.peer(one).endpoint == ELSEWHERE


def test_a_retry_leaves_the_way_to_routing() -> None:
    network = Network()
    one, other = network.node(), network.node()
    network.acquaint(one, other)
    one.device.set_endpoint(one.peer(other), ELSEWHERE, network.now)

    def lost(datagram: Datagram) -> list[float]:
        return []

    network.weather = lost
    one.say(other)
    network.run(6)
    endpoints = [datagram.endpoint for _, datagram in one.sent()]
    assert endpoints == [ELSEWHERE, ELSEWHERE.without_source()]


def test_sources_are_forgotten_when_asked() -> None:
    network = Network()
    one, other = network.connected()
    one.device.set_endpoint(one.peer(other), ELSEWHERE, network.now)
    one.device.clear_sources()
    assert one.peer(other).endpoint == Endpoint(ELSEWHERE.ip, ELSEWHERE.port)
