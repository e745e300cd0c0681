"""The configuration of a device, and what changing it does."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from agent.wireguard.constants import MAX_PEERS
from agent.wireguard.device import Device
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.messages import DATA, INITIATION
from agent.wireguard.x25519 import PrivateKey
from tests.agent.wireguard.network import LATENCY, Network, Node, packet

ELSEWHERE = Endpoint(b"\xc6\x33\x64\x07", 1234)


def _kinds(node: Node) -> list[int]:
    return [datagram.data[0] for _, datagram in node.sent()]


def test_a_device_that_is_down_does_nothing() -> None:
    network = Network()
    one, other = network.connected()
    one.device.down(network.now)
    one.say(other)
    other.say(one)
    network.run(1)
    assert one.sent() == []
    assert one.device.drops == {"device is down": 2}
    assert list(one.peer(other).keypairs) == []


def test_down_and_up_again_makes_a_new_session_at_once() -> None:
    network = Network()
    one, other = network.connected()
    one.device.down(network.now)
    one.device.up(network.now)
    one.say(other, b"again")
    network.run(0.1)
    assert other.heard() == [b"again"]


def test_up_calls_the_peers_with_persistent_keepalive() -> None:
    network = Network()
    one, other = network.pair()
    one.device.down(network.now)
    one.device.set_keepalive(one.peer(other), 25, network.now)
    network.run(1)
    assert _kinds(one) == []
    assert not one.device.is_up
    one.device.up(network.now)
    one.device.up(network.now)
    assert one.device.is_up
    network.run(1)
    assert _kinds(one) == [INITIATION, DATA]


def test_a_keepalive_that_is_on_already_is_not_sent_again() -> None:
    network = Network()
    one, other = network.connected()
    one.device.set_keepalive(one.peer(other), 25, network.now)
    one.device.set_keepalive(one.peer(other), 25, network.now)
    network.run(1)
    assert _kinds(one) == [DATA]


def test_a_new_private_key_ends_sending_but_not_receiving() -> None:
    network = Network()
    one, other = network.connected()
    one.device.set_private_key(b"n" * 32, network.now)
    other.say(one, b"still heard")
    network.run(0.1)
    assert one.heard() == [b"still heard"]
    one.say(other, b"unknown to them")
    network.run(0.1)
    assert _kinds(one) == [INITIATION]
    assert other.heard() == []
    assert one.device.public_key is not None
    peer = other.device.add_peer(one.device.public_key, network.now)
    other.device.allowed_ips.insert(ip_network(one.address), peer)
    network.run(6)
    assert other.heard() == [b"unknown to them"]


def test_the_same_private_key_changes_nothing() -> None:
    network = Network()
    one, other = network.connected()
    one.device.set_private_key(one.device.private_key, network.now)
    one.say(other)
    network.run(0.1)
    assert _kinds(one) == [DATA]


def test_private_keys_are_clamped_and_may_be_taken_away() -> None:
    network = Network()
    one, other = network.pair()
    one.device.set_private_key(b"\xff" * 32, network.now)
    assert one.device.private_key == b"\xf8" + b"\xff" * 30 + b"\x7f"
    assert one.device.public_key == PrivateKey(b"\xff" * 32).public
    one.device.set_private_key(None, network.now)
    assert one.device.private_key is one.device.public_key is None
    one.say(other)
    other.say(one)
    network.run(30)
    assert _kinds(one) == []
    assert one.device.drops["initiation impossible"] > 0
    assert one.device.drops["no private key"] > 0


def test_a_device_is_not_its_own_peer() -> None:
    network = Network()
    one, other = network.pair()
    assert one.device.public_key is not None
    with pytest.raises(ValueError, match="own peer"):
        one.device.add_peer(one.device.public_key, network.now)
    new = PrivateKey(b"n" * 32)
    one.device.add_peer(new.public, network.now)
    one.device.set_private_key(b"n" * 32, network.now)
    assert list(one.device.peers) == [other.device.public_key]


def test_values_that_make_no_sense() -> None:
    network = Network()
    one, other = network.pair()
    with pytest.raises(ValueError, match="32 bytes"):
        one.device.add_peer(bytes(31), network.now)
    with pytest.raises(ValueError, match="32 bytes"):
        one.device.set_private_key(bytes(33), network.now)
    with pytest.raises(ValueError, match="65535"):
        one.device.set_keepalive(one.peer(other), 65536, network.now)
    with pytest.raises(ValueError, match="MTU"):
        one.device.mtu = 0
    with pytest.raises(ValueError, match="MTU"):
        Device(network.random.randbytes, mtu=-1)


def test_a_peer_with_a_low_order_key_is_never_called_and_never_answered() -> None:
    network = Network()
    one, other = network.pair()
    peer = one.device.add_peer(bytes(32), network.now)
    one.device.allowed_ips.insert(ip_network("10.5.0.0/16"), peer)
    one.device.set_endpoint(peer, other.endpoint, network.now)
    one.send(packet(one.address, "10.5.0.1"))
    network.run(30)
    assert _kinds(one) == []
    assert one.device.drops["initiation impossible"] > 0


def test_a_new_preshared_key_counts_from_the_next_handshake_on() -> None:
    network = Network()
    one, other = network.connected()
    one.peer(other).preshared_key = b"p" * 32
    one.say(other, b"a")
    network.run(121)
    one.say(other, b"b")
    network.run(1)
    assert other.heard() == [b"a", b"b"]
    assert one.device.drops == {"response not authentic": 1}
    other.peer(one).preshared_key = b"p" * 32
    network.run(70)
    one.say(other, b"c")
    network.run(10)
    assert other.heard() == [b"c"]


def test_a_removed_peer_is_gone_and_remembered_by_nobody() -> None:
    network = Network()
    one, other = network.connected()
    peer = other.peer(one)
    assert one.device.public_key is not None
    other.device.remove_peer(one.device.public_key, network.now)
    other.device.remove_peer(one.device.public_key, network.now)
    one.say(other)
    network.run(30)
    assert other.heard() == []
    assert set(other.device.drops) == {"data of unknown session", "initiation of unknown peer"}
    assert other.device.allowed_ips.of(peer) == []
    assert list(peer.keypairs) == []
    network.acquaint(other, one)
    network.run(6)
    one.say(other, b"back")
    network.run(1)
    assert other.heard() == [b"back"]


def test_removing_all_peers() -> None:
    network = Network()
    one, _ = network.connected()
    network.acquaint(one, network.node())
    assert len(one.device.peers) == 2
    one.device.remove_peers(network.now)
    assert one.device.peers == {}
    network.run(700)
    assert one.device.deadline() is None


def test_timestamps_are_remembered_over_down_and_up() -> None:
    network = Network()
    one, other = network.pair()
    one.say(other)
    network.run(0.1)
    initiation = one.sent(INITIATION)[0][1].data
    for _ in range(2):
        other.device.down(network.now)
        other.device.up(network.now)
        other.device.receive([(initiation, one.endpoint, 0)], network.now)
    assert other.device.drops == {"initiation replayed": 2}


def test_a_clock_that_steps_back_does_not_lock_us_out() -> None:
    network = Network()
    one, other = network.pair()
    one.say(other)
    network.run(0.1)
    one.device.down(network.now)
    one.device.up(network.now)
    network.run(1)
    back = network.now._replace(wall=network.now.wall - 3600 * 10**9)
    one.device.send([packet(one.address, other.address, body=b"back")], back)
    network.run(1)
    assert b"back" in other.heard()


def test_many_peers_share_a_device() -> None:
    network = Network()
    hub, *spokes = (network.node() for _ in range(20))
    for spoke in spokes:
        network.acquaint(spoke, hub)
        spoke.say(hub, spoke.address.encode())
    network.run(1)
    assert sorted(hub.heard()) == sorted(spoke.address.encode() for spoke in spokes)
    batch = [packet(hub.address, spoke.address, body=b"%d" % n) for n in range(3) for spoke in spokes]
    hub.device.send(batch, network.now)
    network.run(LATENCY * 2)
    for spoke in spokes:
        assert spoke.heard() == [b"0", b"1", b"2"]


def test_a_device_has_a_million_peers_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_PEERS == 1 << 20
    monkeypatch.setattr("agent.wireguard.device.MAX_PEERS", 2)
    network = Network()
    one, other = network.pair()
    one.device.add_peer(b"a" * 32, network.now)
    with pytest.raises(ValueError, match="2 peers"):
        one.device.add_peer(b"b" * 32, network.now)
    assert one.device.add_peer(b"a" * 32, network.now) is one.device.peers[b"a" * 32]
    assert one.peer(other) in one.device.peers.values()


def test_nothing_is_agreed_on_with_a_peer_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network()
    one, other = network.pair()
    agreed = []
    shared = PrivateKey.shared

    def counted(key: PrivateKey, public: bytes) -> bytes:
        if public == other.device.public_key:
            agreed.append(key)
        return shared(key, public)

    monkeypatch.setattr(PrivateKey, "shared", counted)
    one.device.set_private_key(b"n" * 32, network.now)
    assert agreed == []
    one.say(other)
    network.run(9)
    assert len(agreed) == 3  # with two ephemeral keys, and with the static key once
    assert sum(key.data == one.device.private_key for key in agreed) == 1


def test_many_timers_that_are_due_at_once_are_shared_out_among_turns() -> None:
    network = Network()
    one = network.node()
    one.device.down(network.now)
    for number in range(300):
        peer = one.device.add_peer(PrivateKey(number.to_bytes(2, "big") * 16).public, network.now)
        one.device.set_endpoint(peer, ELSEWHERE, network.now)
        one.device.set_keepalive(peer, 25, network.now)
    one.device.up(network.now)
    assert one.device.take().datagrams == []
    assert _turns(network, one) == [64, 64, 64, 64, 44]
    # All of them have something to say now, and another key lets them be called at once.
    one.device.set_private_key(b"n" * 32, network.now)
    assert one.device.take().datagrams == []
    assert _turns(network, one) == [64, 64, 64, 64, 44]


def _turns(network: Network, node: Node) -> list[int]:
    """How many datagrams each turn makes, until none is due."""
    turns = []
    deadline = node.device.deadline()
    while deadline is not None and deadline <= network.now.monotonic:
        node.device.advance(network.now)
        turns.append(len(node.device.take().datagrams))
        deadline = node.device.deadline()
    return turns


def test_what_comes_while_a_device_is_down_is_counted() -> None:
    network = Network()
    one, other = network.connected()
    one.device.down(network.now)
    other.say(one)
    one.say(other)
    network.run(1)
    assert one.device.drops == {"device is down": 2}


def test_sources_are_forgotten_also_where_a_peer_has_no_endpoint() -> None:
    network = Network()
    one, other = network.node(), network.node()
    network.acquaint(other, one)
    one.device.clear_sources()
    assert one.peer(other).endpoint is None
