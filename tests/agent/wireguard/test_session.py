"""Handshakes and sessions between two devices on a simulated network."""

from __future__ import annotations

import pytest

from agent.wireguard.messages import DATA, INITIATION, RESPONSE
from tests.agent.wireguard.network import EPOCH, LATENCY, Datagram, Network, Node, packet


@pytest.mark.parametrize("psk", [bytes(32), b"p" * 32])
@pytest.mark.parametrize("caller", [0, 1])
def test_a_packet_brings_about_a_session_and_arrives(caller: int, psk: bytes) -> None:
    network = Network()
    pair = network.pair(psk)
    one, other = pair[caller], pair[1 - caller]
    one.say(other, b"hello")
    network.run(1)
    assert other.heard() == [b"hello"]
    other.say(one, b"good day")
    network.run(1)
    assert one.heard() == [b"good day"]
    assert _kinds(one) == [INITIATION, DATA]
    assert _kinds(other) == [RESPONSE, DATA]
    assert not one.device.drops
    assert not other.device.drops


def test_latest_handshake_is_the_response_here_and_the_confirmation_there() -> None:
    network = Network()
    one, other = network.pair()
    start = network.now.wall
    assert one.peer(other).latest_handshake is None
    one.say(other)
    network.run(1)
    assert one.peer(other).latest_handshake == pytest.approx(start + 2 * LATENCY * 1e9, abs=EPOCH * 1e-12)
    assert other.peer(one).latest_handshake == pytest.approx(start + 3 * LATENCY * 1e9, abs=EPOCH * 1e-12)


def test_different_preshared_keys_make_no_session() -> None:
    network = Network()
    one, other = network.pair()
    other.peer(one).preshared_key = b"p" * 32
    one.say(other)
    network.run(4)
    assert other.heard() == []
    assert one.device.drops == {"response not authentic": 1}
    assert one.peer(other).latest_handshake is None


def test_the_caller_that_has_nothing_to_say_confirms_with_a_keepalive() -> None:
    network = Network()
    one, other = network.pair()
    one.device.set_keepalive(one.peer(other), 60, network.now)
    network.run(1)
    sizes = [len(datagram.data) for _, datagram in one.sent()]
    assert sizes == [148, 32]
    assert other.peer(one).latest_handshake is not None


def test_the_called_side_waits_for_the_confirmation() -> None:
    network = Network()
    one, other = network.pair()
    network.weather = lambda datagram: [] if datagram.data[0] == DATA else [LATENCY]
    one.say(other)
    network.run(0.1)
    other.say(one, b"early")
    network.run(0.1)
    assert _kinds(other) == [RESPONSE]
    network.weather = lambda datagram: [LATENCY]
    one.say(other)
    network.run(0.1)
    assert _kinds(other) == [DATA]
    assert one.heard() == [b"early"]


def test_both_call_at_once_and_both_are_heard_at_once() -> None:
    network = Network()
    one, other = network.pair()
    one.say(other, b"from one")
    other.say(one, b"from other")
    network.run(1)
    assert (one.heard(), other.heard()) == ([b"from other"], [b"from one"])
    for number in range(300):
        one.say(other, b"%d" % number)
        other.say(one, b"%d" % number)
        network.run(1)
        assert (one.heard(), other.heard()) == ([b"%d" % number], [b"%d" % number])


def test_what_waits_for_a_session_arrives_in_order_and_the_oldest_is_dropped() -> None:
    network = Network()
    one, other = network.pair()
    for number in range(130):
        one.say(other, b"%d" % number)
    network.run(1)
    assert other.heard() == [b"%d" % number for number in range(2, 130)]
    assert one.device.drops == {"too many staged packets": 2}


def test_a_batch_larger_than_the_stage_passes_through_a_session() -> None:
    network = Network()
    one, other = network.connected()
    batch = [packet(one.address, other.address, body=b"%d" % number) for number in range(500)]
    one.device.send(batch, network.now)
    network.run(1)
    assert other.heard() == [b"%d" % number for number in range(500)]


def test_loss_duplicates_and_disorder() -> None:
    network = Network(seed=7)
    one, other = network.pair()

    def weather(datagram: Datagram) -> list[float]:
        if network.random.random() < 0.3:
            return []
        return [network.random.uniform(0.01, 0.5) for _ in range(network.random.choice((1, 1, 2)))]

    network.weather = weather
    heard = []
    for number in range(2000):
        one.say(other, b"%d" % number)
        other.say(one, b"%d" % number)
        network.run(0.2)
        heard += other.heard()
    assert len(set(heard)) == len(heard)
    assert len(heard) > 1200
    assert heard != sorted(heard, key=int)
    assert other.device.drops["data replayed"] > 100


def test_a_replayed_message_of_any_kind_changes_nothing() -> None:
    network = Network()
    one, other = network.pair()
    one.say(other)
    network.run(0.1)
    other.say(one)
    network.run(0.1)
    counters = [(p.rx_bytes, p.tx_bytes) for p in (one.peer(other), other.peer(one))]
    sent = {one: one.sent(), other: other.sent()}
    one.heard(), other.heard()
    for target, source in ((other, one), (one, other)):
        for _, datagram in sent[source]:
            elsewhere = source.endpoint._replace(port=1)
            target.device.receive([(datagram.data, elsewhere, 0)], network.now)
    network.run(0.1)
    assert [(p.rx_bytes, p.tx_bytes) for p in (one.peer(other), other.peer(one))] == counters
    assert one.heard() == other.heard() == []
    assert other.peer(one).endpoint == one.endpoint
    assert one.peer(other).endpoint == other.endpoint
    assert other.device.drops == {"initiation replayed": 1, "data replayed": 1}
    assert one.device.drops == {"response to nothing": 1, "data replayed": 1}


def test_initiations_that_follow_too_fast_are_dropped() -> None:
    network = Network()
    one, other = network.pair()
    for _ in range(2):
        one.device.down(network.now)
        one.device.up(network.now)
        one.say(other)
        network.run(0.005)
    network.run(0.1)
    assert other.device.drops["initiations too fast"] == 1


def test_a_false_response_leaves_the_handshake_as_it_was() -> None:
    network = Network()
    one, other = network.pair()

    def weather(datagram: Datagram) -> list[float]:
        if datagram.data[0] == RESPONSE:
            network.weather = lambda _: [LATENCY]
            broken = bytearray(datagram.data)
            broken[50] ^= 1
            key = one.device.public_key
            assert key is not None
            signed = other.peer(one).cookies.sign(bytes(broken[:60]), network.now.monotonic)
            one.device.receive([(signed, other.endpoint, 0)], network.now)
        return [LATENCY]

    network.weather = weather
    one.say(other, b"hello")
    network.run(0.1)
    assert one.device.drops == {"response not authentic": 1}
    assert other.heard() == [b"hello"]


@pytest.mark.parametrize("late", [0, 1])
def test_what_was_sent_before_a_renewal_may_arrive_after_it(late: int) -> None:
    network = Network()
    pair = network.connected()
    one, other = pair[late], pair[1 - late]
    network.run(119)
    network.weather = lambda datagram: [5.0]
    one.say(other, b"late")
    network.run(1.5)
    network.weather = lambda datagram: [LATENCY]
    pair[0].say(pair[1], b"renew")
    network.run(1)
    pair[0].say(pair[1], b"new")
    network.run(1)
    assert sum(1 for node in pair for kind in _kinds(node) if kind == INITIATION) == 1
    other.heard()
    network.run(4)
    assert other.heard() == [b"late"]


def _kinds(node: Node) -> list[int]:
    return [datagram.data[0] for _, datagram in node.sent()]
