"""Handshakes and data between two devices on a simulated network."""

from __future__ import annotations

import struct

import pytest

from agent.wireguard.constants import REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES
from agent.wireguard.device import Datagram
from agent.wireguard.messages import DATA, INITIATION, RESPONSE
from agent.wireguard.send import padding
from tests.agent.wireguard.network import EPOCH, LATENCY, Network, Node, packet, packet6


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


def test_a_source_that_is_not_the_peers_is_refused_both_families() -> None:
    network = Network()
    one, other = network.connected()
    received = other.peer(one).rx_bytes
    one.send(packet("10.9.9.9", other.address))
    one.send(packet6("fd00::99", other.address6))
    network.run(0.1)
    assert other.packets == []
    assert other.device.drops == {"inner source not allowed": 2}
    assert other.peer(one).rx_bytes == received


def test_a_source_that_is_another_peers_is_refused() -> None:
    network = Network()
    one, other = network.connected()
    third = network.node()
    network.acquaint(other, third)
    one.send(packet(third.address, other.address))
    network.run(0.1)
    assert other.packets == []
    assert other.device.drops == {"inner source not allowed": 1}


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


def test_ipv6_inside() -> None:
    network = Network()
    one, other = network.connected()
    inner = packet6(one.address6, other.address6)
    one.send(inner)
    network.run(0.1)
    assert [data for _, data in other.packets] == [inner]


@pytest.mark.parametrize("length", [0, 19, 85, 65535])
def test_false_ipv4_lengths_are_refused(length: int) -> None:
    network = Network()
    one, other = network.connected()
    inner = bytearray(packet(one.address, other.address, 80))
    inner[2:4] = struct.pack("!H", length)
    one.send(bytes(inner))
    network.run(0.1)
    assert other.packets == []
    assert other.device.drops == {"inner length is false": 1}


@pytest.mark.parametrize("length", [41, 65535])
def test_false_ipv6_lengths_are_refused(length: int) -> None:
    network = Network()
    one, other = network.connected()
    inner = bytearray(packet6(one.address6, other.address6, 80))
    inner[4:6] = struct.pack("!H", length)
    one.send(bytes(inner))
    network.run(0.1)
    assert other.packets == []
    assert other.device.drops == {"inner length is false": 1}


def test_what_follows_the_stated_length_is_cut_off() -> None:
    network = Network()
    one, other = network.connected()
    inner = packet(one.address, other.address, 60)
    one.send(inner + b"surplus")
    network.run(0.1)
    assert [data for _, data in other.packets] == [inner]


@pytest.mark.parametrize(
    ("size", "mtu", "zeros"),
    [
        (0, 1420, 0),
        (84, 1420, 12),
        (96, 1420, 0),
        (1409, 1420, 11),
        (1420, 1420, 0),
        (1421, 1420, 15),
        (2839, 1420, 1),
        (5, 10, 5),
    ],
)
def test_padding(size: int, mtu: int, zeros: int) -> None:
    assert padding(size, mtu) == zeros


@pytest.mark.parametrize("size", range(20, 60))
def test_datagrams_have_sizes_of_sixteens(size: int) -> None:
    network = Network()
    one, other = network.connected()
    inner = packet(one.address, other.address, size)
    one.send(inner)
    network.run(0.1)
    ((_, datagram),) = one.sent()
    assert len(datagram.data) == 32 + (size + 15) // 16 * 16
    assert [data for _, data in other.packets] == [inner]


def test_a_packet_longer_than_the_mtu_passes() -> None:
    network = Network()
    one, other = network.connected()
    one.device.mtu = 1280
    inner = packet(one.address, other.address, 1421)
    one.send(inner)
    network.run(0.1)
    assert [data for _, data in other.packets] == [inner]


@pytest.mark.parametrize(("inner", "outer"), [(0, 0), (1, 1), (2, 2), (3, 2), (0xB9, 1)])
def test_the_outer_header_says_the_inner_ecn_and_no_more(inner: int, outer: int) -> None:
    network = Network()
    one, other = network.connected()
    one.send(packet(one.address, other.address, tos=inner))
    one.send(packet6(one.address6, other.address6, traffic_class=inner))
    network.run(0.1)
    assert [datagram.tos for _, datagram in one.sent()] == [outer, outer]


def test_handshakes_have_a_class_of_their_own() -> None:
    network = Network()
    one, other = network.pair()
    one.say(other)
    network.run(0.1)
    assert [datagram.tos for _, datagram in one.sent()] == [0x88, 0]
    assert [datagram.tos for _, datagram in other.sent()] == [0x88]


@pytest.mark.parametrize(("inner", "after"), [(0, 0), (1, 3), (2, 3), (3, 3), (0xB9, 0xBB)])
def test_congestion_on_the_way_is_passed_on_to_who_understands_it(inner: int, after: int) -> None:
    network = Network()
    one, other = network.connected()
    before4 = _with_checksum(packet(one.address, other.address, tos=inner))
    before6 = packet6(one.address6, other.address6, traffic_class=inner)
    one.device.send([before4, before6], network.now)
    datagrams = [(datagram.data, one.endpoint, 3) for datagram in one.device.take().datagrams]
    other.device.receive(datagrams, network.now)
    after4, after6 = other.device.take().packets
    assert after4 == _with_checksum(packet(one.address, other.address, tos=after))
    assert after6 == packet6(one.address6, other.address6, traffic_class=after)


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


def _with_checksum(inner: bytes) -> bytes:
    total = sum(struct.unpack("!10H", inner[:20]))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return inner[:10] + struct.pack("!H", ~total & 0xFFFF) + inner[12:]
