"""What happens when, over minutes and hours of simulated time."""

from __future__ import annotations

import pytest

from agent.wireguard.messages import DATA, INITIATION, RESPONSE
from tests.agent.wireguard.network import LATENCY, Datagram, Network, Node, each


def _lost(datagram: Datagram) -> list[float]:
    return []


def _times(node: Node, kind: int) -> list[float]:
    return [at for at, _ in node.sent(kind)]


def test_a_session_is_renewed_after_120_seconds_without_losing_a_packet() -> None:
    network = Network()
    one, other = network.connected()
    start = network.now.monotonic
    said = 0
    heard: dict[Node, list[bytes]] = {one: [], other: []}
    while network.now.monotonic < start + 400:
        one.say(other, b"%d" % said)
        other.say(one, b"%d" % said)
        said += 1
        network.run(0.25)
        for node in (one, other):
            heard[node] += node.heard()
    assert heard[one] == heard[other] == [b"%d" % number for number in range(said)]
    assert [round(at - start) for at in _times(one, INITIATION)] == [120, 240, 360]
    assert _times(other, INITIATION) == []
    assert not one.device.drops
    assert not other.device.drops


def test_a_caller_that_only_listens_renews_after_165_seconds_once() -> None:
    network = Network()
    one, other = network.connected()
    start = network.now.monotonic
    network.run(164)
    other.say(one)
    network.run(2)
    assert _times(one, INITIATION) == []
    network.weather = lambda datagram: [] if datagram.data[0] == INITIATION else [LATENCY]
    for _ in range(4):
        other.say(one)
        network.run(1)
    assert [round(at - start) for at in _times(one, INITIATION)] == [166]
    network.weather = lambda datagram: [LATENCY]
    network.run(10)
    assert [datagram.data[0] for _, datagram in one.sent()] == [INITIATION, DATA]


def test_a_session_ends_after_180_seconds_both_ways() -> None:
    network = Network()
    one, other = network.connected()
    start = network.now.monotonic
    network.weather = lambda datagram: [LATENCY] if datagram.data[0] == DATA else []
    network.run(170)
    other.say(one, b"in time")
    network.run(1)
    assert one.heard() == [b"in time"]
    network.run(start + 181 - network.now.monotonic)
    other.sent(), one.sent()
    other.say(one, b"late")
    one.say(other, b"late")
    network.run(1)
    assert (one.heard(), other.heard()) == ([], [])
    assert [datagram.data[0] for _, datagram in other.sent()] == [INITIATION]
    assert DATA not in [datagram.data[0] for _, datagram in one.sent()]


def test_data_of_a_session_that_is_too_old_is_refused() -> None:
    network = Network()
    one, other = network.connected()
    network.weather = _lost
    network.run(179)
    one.say(other)
    ((data, *_),) = [(d.data,) for d in each(one.device.take()) if d.data[0] == DATA]
    network.run(1)
    other.device.receive([(data, one.endpoint, 0)], network.now)
    assert other.device.drops == {"session too old": 1}


def test_giving_up_after_twenty_initiations_and_beginning_again() -> None:
    network = Network()
    one, other = network.pair()
    network.weather = _lost
    one.say(other, b"lost")
    network.run(600)
    times = _times(one, INITIATION)
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert len(times) == 20
    assert all(5 <= gap <= 5.334 for gap in gaps)
    assert len({round(gap, 4) for gap in gaps}) > 5
    assert one.device.drops == {"handshake given up": 1}
    network.weather = lambda datagram: [LATENCY]
    one.say(other, b"again")
    network.run(1)
    assert other.heard() == [b"again"]


def test_each_retry_is_a_new_initiation() -> None:
    network = Network()
    one, other = network.pair()
    network.weather = _lost
    one.say(other)
    network.run(20)
    messages = [datagram.data for _, datagram in one.sent(INITIATION)]
    assert len(messages) == 4
    for part in (slice(4, 8), slice(8, 40), slice(40, 88), slice(88, 116)):
        assert len({message[part] for message in messages}) == 4


def test_a_packet_while_calling_makes_the_attempts_count_anew() -> None:
    network = Network()
    one, other = network.pair()
    network.weather = _lost
    one.say(other)
    network.run(60)
    one.say(other)
    network.run(600)
    assert len(_times(one, INITIATION)) > 28


def test_whoever_was_only_spoken_to_answers_with_one_keepalive_after_ten_seconds() -> None:
    network = Network()
    one, other = network.connected()
    start = network.now.monotonic
    one.say(other)
    network.run(100)
    ((at, keepalive),) = other.sent()
    assert len(keepalive.data) == 32
    assert at - start == pytest.approx(10 + LATENCY)
    assert one.packets == []
    assert one.sent(INITIATION) == []


def test_keepalives_go_on_every_ten_seconds_while_data_comes() -> None:
    network = Network()
    one, other = network.connected()
    start = network.now.monotonic
    for _ in range(45):
        one.say(other)
        network.run(1)
    network.run(30)
    times = [round(at - start) for at in _times(other, DATA)]
    assert times == [10, 20, 30, 40, 50, 60]


def test_no_keepalive_after_an_answer() -> None:
    network = Network()
    one, other = network.connected()
    for _ in range(20):
        one.say(other)
        network.run(1)
        other.say(one)
        network.run(1)
    assert all(len(datagram.data) > 32 for _, datagram in one.sent() + other.sent())


def test_without_traffic_there_is_silence_and_nothing_to_wait_for() -> None:
    network = Network()
    one, other = network.connected()
    network.run(30)
    one.sent(), other.sent()
    network.run(24 * 3600)
    assert one.sent() == other.sent() == []
    assert one.device.deadline() is None
    assert other.device.deadline() is None


def test_whoever_is_not_answered_calls_again_after_fifteen_seconds() -> None:
    network = Network()
    one, other = network.connected()
    network.run(30)
    start = network.now.monotonic
    one.sent()
    network.weather = _lost
    one.say(other)
    network.run(17)
    (at,) = _times(one, INITIATION)
    assert 15 <= at - start <= 15.334


def test_keys_are_erased_after_540_seconds() -> None:
    network = Network()
    one, other = network.connected()
    network.run(539)
    for node, peer in ((one, other), (other, one)):
        assert list(node.peer(peer).keypairs) != []
    network.run(2)
    for node, peer in ((one, other), (other, one)):
        assert list(node.peer(peer).keypairs) == []
        assert node.peer(peer).pending is None
        assert node.peer(peer).latest_handshake is not None
    one.say(other, b"again")
    network.run(1)
    assert b"again" in other.heard()


def test_an_unanswered_handshake_is_erased_after_giving_up() -> None:
    network = Network()
    one, other = network.pair()
    network.weather = _lost
    one.say(other)
    network.run(630)
    assert one.peer(other).pending is not None
    network.run(30)
    assert one.peer(other).pending is None


@pytest.mark.parametrize("interval", [1, 7, 25])
def test_persistent_keepalives(interval: int) -> None:
    network = Network()
    one, other = network.connected()
    one.device.set_keepalive(one.peer(other), interval, network.now)
    start = network.now.monotonic
    network.run(100)
    times = [round(at - start, 2) for at in _times(one, DATA)]
    assert times[0] == 0
    assert {round(later - earlier, 2) for earlier, later in zip(times, times[1:])} == {interval}
    assert _times(other, DATA) == []


def test_any_authentic_packet_puts_the_persistent_keepalive_off() -> None:
    network = Network()
    one, other = network.connected()
    one.device.set_keepalive(one.peer(other), 25, network.now)
    network.run(0.1)
    one.sent()
    for _ in range(10):
        other.device.set_keepalive(other.peer(one), 0, network.now)
        other.device.set_keepalive(other.peer(one), 60, network.now)
        network.run(9)
    assert _times(one, DATA) == []


def test_persistent_keepalives_survive_that_the_peer_is_away() -> None:
    network = Network()
    one, other = network.pair()
    network.weather = _lost
    one.device.set_keepalive(one.peer(other), 25, network.now)
    network.run(1000)
    network.weather = lambda datagram: [LATENCY]
    network.run(35)
    assert one.peer(other).latest_handshake is not None


def test_persistent_keepalives_begin_once_there_is_an_endpoint() -> None:
    network = Network()
    one, other = network.node(), network.node()
    network.acquaint(other, one)
    one.device.set_keepalive(one.peer(other), 25, network.now)
    network.run(100)
    assert one.sent() == []
    one.device.set_endpoint(one.peer(other), other.endpoint, network.now)
    network.run(1)
    assert one.peer(other).latest_handshake is not None


def test_a_lost_response_and_a_packet_from_the_called_side() -> None:
    network = Network()
    one, other = network.pair()
    network.weather = lambda datagram: [] if datagram.data[0] == RESPONSE else [LATENCY]
    one.say(other, b"a")
    network.run(1)
    network.weather = lambda datagram: [LATENCY]
    other.say(one, b"b")
    network.run(12)
    assert (one.heard(), other.heard()) == ([b"b"], [b"a"])


def test_a_lost_confirmation_does_not_strand_what_the_called_side_has_to_say() -> None:
    network = Network()
    one, other = network.pair()
    one.device.set_keepalive(one.peer(other), 0, network.now)
    network.weather = lambda datagram: [] if datagram.data[0] == DATA else [LATENCY]
    one.say(other, b"lost")
    network.run(0.1)
    network.weather = lambda datagram: [LATENCY]
    other.say(one, b"waits")
    network.run(6)
    assert one.heard() == [b"waits"]


def test_a_session_that_only_receives_asks_for_its_renewal_once() -> None:
    network = Network()
    one, other = network.connected()
    network.run(160)
    other.device.set_keepalive(other.peer(one), 1, network.now)
    network.weather = lambda datagram: [] if datagram.data[0] == INITIATION else [LATENCY]
    network.run(300)
    assert len(_times(one, INITIATION)) == 20


def test_persistent_keepalives_begin_once_there_is_a_private_key() -> None:
    network = Network()
    one, other = network.pair()
    key = one.device.private_key
    one.device.set_private_key(None, network.now)
    one.device.set_keepalive(one.peer(other), 25, network.now)
    network.run(60)
    assert one.sent() == []
    one.device.set_private_key(key, network.now)
    network.run(25)
    assert one.peer(other).latest_handshake is not None


def test_what_waits_for_a_private_key_goes_out_with_it() -> None:
    network = Network()
    one, other = network.pair()
    key = one.device.private_key
    one.device.set_private_key(None, network.now)
    one.say(other, b"waits for a key")
    network.run(1)
    assert one.sent() == []
    one.device.set_private_key(key, network.now)
    network.run(0.1)
    assert other.heard() == [b"waits for a key"]
