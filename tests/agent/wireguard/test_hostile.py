"""Nothing that comes from the network or the TUN raises, and all of it is accounted for."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.wireguard.messages import DATA
from tests.agent.wireguard.network import LATENCY, Network, Node

junk = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda kind, body: bytes((kind, 0, 0, 0)) + body,
        st.integers(0, 5),
        st.one_of(*(st.binary(min_size=size, max_size=size) for size in (28, 60, 88, 144))),
    ),
)


@given(st.lists(junk, max_size=20), st.integers(0, 255))
def test_random_datagrams_are_dropped_and_counted(messages: list[bytes], tos: int) -> None:
    network = Network()
    one, other = network.connected()
    one.device.receive([(message, other.endpoint, tos) for message in messages], network.now)
    network.run(1)
    assert sum(one.device.drops.values()) == len(messages)
    assert one.packets == []
    assert one.sent() == []


@given(st.lists(st.binary(max_size=100), max_size=20))
def test_random_packets_from_the_tun(packets: list[bytes]) -> None:
    network = Network()
    one, _ = network.connected()
    one.device.send(packets, network.now)
    network.run(1)


def _recorded() -> tuple[Network, Node, Node, list[bytes]]:
    """Every kind of message on its way from one to other, before it arrives."""
    network = Network()
    one, other = network.pair()
    one.say(other)
    network.run(LATENCY * 0.5)
    (initiation,) = (datagram.data for _, datagram in one.sent())
    network.run(LATENCY)
    (response,) = (datagram.data for _, datagram in other.sent())
    network.run(LATENCY)
    (data,) = (datagram.data for _, datagram in one.sent() if datagram.data[0] == DATA)
    return network, one, other, [initiation, response, data]


@settings(max_examples=200)
@given(st.integers(0, 2), st.integers(0, 10_000), st.integers(1, 255), st.integers(0, 200))
def test_a_message_with_one_changed_byte_moves_nothing(which: int, at: int, flip: int, cut: int) -> None:
    network, one, other, messages = _recorded()
    message = bytearray(messages[which])
    message[at % len(message)] ^= flip
    source = one.endpoint._replace(port=9)
    for node in (one, other):
        for changed in (bytes(message), bytes(message[: len(message) - cut % len(message)])):
            node.device.receive([(changed, source, 0)], network.now)
        assert sum(node.device.drops.values()) >= 2
        assert all(peer.endpoint != source for peer in node.device.peers.values())


@given(st.binary(min_size=1, max_size=120))
def test_a_peer_that_sends_no_ip(inner: bytes) -> None:
    network = Network()
    one, other = network.connected()
    keypair = one.peer(other).keypairs.current
    assert keypair is not None
    nonce = keypair.counter.to_bytes(8, "little")
    sealed = keypair.sealer.encrypt(bytes(4) + nonce, inner, None)
    other.device.receive([(keypair.prefix + nonce + sealed, one.endpoint, 3)], network.now)
    assert other.device.take().packets == []
    assert sum(other.device.drops.values()) == 1


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 65535), st.binary(min_size=36, max_size=80))
def test_a_peer_that_sends_strange_headers(ecn: int, tos: int, length: int, rest: bytes) -> None:
    network = Network()
    one, other = network.connected()
    keypair = one.peer(other).keypairs.current
    assert keypair is not None
    for counter, start in enumerate((0x45, 0x60, 0x4F, 0x6F)):
        inner = bytes((start, ecn << 4 | ecn)) + length.to_bytes(2, "big") + rest
        nonce = counter.to_bytes(8, "little")
        sealed = keypair.sealer.encrypt(bytes(4) + nonce, inner, None)
        other.device.receive([(keypair.prefix + nonce + sealed, one.endpoint, tos)], network.now)
    assert len(other.device.take().packets) + sum(other.device.drops.values()) >= 4
