"""What becomes of inner packets: whose they may be, lengths, padding, ECN."""

from __future__ import annotations

import struct

import pytest

from agent.wireguard.send import padding
from tests.agent.wireguard.network import Network, each, packet, packet6


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
    assert one.device.mtu == 1280
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
    datagrams = [(datagram.data, one.endpoint, 3) for datagram in each(one.device.take())]
    other.device.receive(datagrams, network.now)
    after4, after6 = other.device.take().packets
    assert after4 == _with_checksum(packet(one.address, other.address, tos=after))
    assert after6 == packet6(one.address6, other.address6, traffic_class=after)


def _with_checksum(inner: bytes) -> bytes:
    total = sum(struct.unpack("!10H", inner[:20]))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return inner[:10] + struct.pack("!H", ~total & 0xFFFF) + inner[12:]


@pytest.mark.parametrize(("size", "length"), [(1424, 1436), (1440, 1452), (2840, 2840)])
def test_a_packet_longer_than_the_mtu_is_padded_as_what_goes_beyond_it(size: int, length: int) -> None:
    network = Network()
    one, other = network.connected()
    one.send(packet(one.address, other.address, size))
    ((_, data, _),) = each(one.device.take())
    assert len(data) == 32 + length
