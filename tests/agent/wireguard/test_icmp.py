"""Packets that no peer can be given are answered."""

from __future__ import annotations

import struct

import pytest

from agent.wireguard.icmp import unreachable
from agent.wireguard.packet import checksum
from tests.agent.wireguard.network import Network, packet, packet6


@pytest.mark.parametrize("size", [28, 85, 1000])
def test_an_ipv4_packet_for_nobody_is_answered(size: int) -> None:
    network = Network()
    one, _ = network.connected()
    asked = packet("10.0.0.1", "10.77.0.9", size, body=b"hello")
    one.send(asked)
    (answer,) = one.device.take().packets
    assert one.device.drops == {"no peer for destination": 1}
    assert len(answer) == struct.unpack("!H", answer[2:4])[0] == min(576, 28 + size)
    assert checksum(answer[:20]) == 0
    assert checksum(answer[20:]) == 0
    assert answer[9] == 1
    assert answer[12:20] == asked[16:20] + asked[12:16]
    assert answer[20:22] == b"\3\1"
    assert answer[28:] == asked[:548]


def test_an_ipv6_packet_for_nobody_is_answered() -> None:
    network = Network()
    one, _ = network.connected()
    asked = packet6("fd00::1", "fd77::9", 1400)
    one.send(asked)
    (answer,) = one.device.take().packets
    assert len(answer) == 1280
    assert answer[4:8] == struct.pack("!HBB", 1240, 58, 64)
    assert answer[8:40] == asked[24:40] + asked[8:24]
    assert answer[40:42] == b"\1\3"
    pseudo_header = answer[8:40] + struct.pack("!II", 1240, 58)
    assert checksum(pseudo_header + answer[40:]) == 0
    assert answer[48:] == asked[:1232]


def test_a_peer_without_an_endpoint_cannot_be_given_anything() -> None:
    network = Network()
    one, other = network.node(), network.node()
    network.acquaint(other, one)
    one.say(other)
    assert len(one.device.take().packets) == 1
    assert one.device.drops == {"peer without endpoint": 1}


def test_answers_are_limited() -> None:
    network = Network()
    one, _ = network.connected()
    for _ in range(100):
        one.send(packet("10.0.0.1", "10.77.0.9"))
    assert len(one.device.take().packets) == 10
    network.run(1)
    one.send(packet("10.0.0.1", "10.77.0.9"))
    assert len(one.device.take().packets) == 1


def _icmp4(kind: int) -> bytes:
    asked = bytearray(packet("10.0.0.1", "10.77.0.9"))
    asked[9], asked[20] = 1, kind
    return bytes(asked)


def _icmp6(kind: int) -> bytes:
    asked = bytearray(packet6("fd00::1", "fd77::9"))
    asked[6], asked[40] = 58, kind
    return bytes(asked)


def _later_fragment() -> bytes:
    asked = bytearray(packet("10.0.0.1", "10.77.0.9"))
    asked[7] = 1
    return bytes(asked)


@pytest.mark.parametrize(
    "asked",
    [
        _icmp4(3),
        _icmp4(11),
        _icmp6(1),
        _icmp6(3),
        _later_fragment(),
        packet("10.0.0.1", "224.0.0.251"),
        packet("10.0.0.1", "255.255.255.255"),
        packet("0.0.0.0", "10.77.0.9"),
        packet6("fd00::1", "ff02::1"),
        packet6("::", "fd77::9"),
    ],
)
def test_what_must_not_be_answered(asked: bytes) -> None:
    assert unreachable(asked) is None


def test_echo_requests_are_answered() -> None:
    assert unreachable(_icmp4(8)) is not None
    assert unreachable(_icmp6(128)) is not None


@pytest.mark.parametrize("junk", [b"", b"\x45", b"\x00" * 40, b"\x60" + bytes(30), b"\xff" * 100])
def test_what_is_not_ip_is_dropped(junk: bytes) -> None:
    network = Network()
    one, _ = network.connected()
    one.send(junk)
    assert one.device.drops == {"sent packet is not IP": 1}
    assert one.device.take() == ([], [])


def test_a_packet_that_must_not_be_answered_is_dropped_all_the_same() -> None:
    network = Network()
    one, _ = network.connected()
    one.send(packet("10.0.0.1", "224.0.0.251"))
    assert one.device.drops == {"no peer for destination": 1}
    assert one.device.take() == ([], [])
