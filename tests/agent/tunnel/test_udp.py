"""The UDP sockets on the loopback."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator

import pytest

from agent.tunnel.udp import Received, UdpSockets
from agent.wireguard.device import Datagram
from agent.wireguard.endpoint import Endpoint

LOOPBACK = socket.inet_aton("127.0.0.1")


@pytest.fixture
def sockets() -> Iterator[UdpSockets]:
    pair = UdpSockets()
    pair.open()
    yield pair
    pair.close()


@pytest.fixture
def other() -> Iterator[UdpSockets]:
    pair = UdpSockets()
    pair.open()
    yield pair
    pair.close()


def arrived(sockets: UdpSockets, count: int = 1) -> list[Received]:
    """What comes in until there are `count`."""
    got: list[Received] = []
    while len(got) < count:
        assert select.select([sockets], [], [], 5)[0], f"only {len(got)} of {count} arrived"
        got += sockets.receive(64)
    return got


def to(port: int, source: bytes = b"") -> Endpoint:
    return Endpoint(LOOPBACK, port, source=source)


def test_a_batch_arrives_in_order_with_its_tos(sockets: UdpSockets, other: UdpSockets) -> None:
    tos = [0, 0x88, 1, 2, 3, 0xFF, 0]
    batch = [Datagram(to(other.port), bytes([number]) * 1500, value) for number, value in enumerate(tos)]
    assert sockets.send(batch) == 0
    got = arrived(other, len(batch))
    assert [(data, value) for data, _, value in got] == [(sent.data, sent.tos) for sent in batch]
    assert {endpoint[:2] for _, endpoint, _ in got} == {(LOOPBACK, sockets.port)}


def test_the_longest_datagram_there_can_be(sockets: UdpSockets, other: UdpSockets) -> None:
    data = bytes(range(256)) * 256
    assert sockets.send([Datagram(to(other.port), data[:65507], 0)]) == 0
    assert arrived(other)[0][0] == data[:65507]


def test_an_answer_leaves_from_the_address_that_was_contacted(sockets: UdpSockets, other: UdpSockets) -> None:
    contacted = socket.inet_aton("127.3.2.1")
    sockets.send([Datagram(Endpoint(contacted, other.port), b"call", 0)])
    _, caller, _ = arrived(other)[0]
    assert caller.source == contacted
    other.send([Datagram(caller, b"answer", 0x88)])
    data, answerer, tos = arrived(sockets)[0]
    assert (data, answerer.ip, tos) == (b"answer", contacted, 0x88)


def test_a_source_that_is_gone_is_left_out(sockets: UdpSockets, other: UdpSockets) -> None:
    gone = to(other.port, source=socket.inet_aton("192.0.2.7"))
    for _ in range(2):
        assert sockets.send([Datagram(gone, b"data", 2)]) == 0
        data, sender, tos = arrived(other)[0]
        assert (data, sender.ip, tos) == (b"data", LOOPBACK, 2)


def test_what_cannot_be_sent_is_counted_and_the_rest_sent(sockets: UdpSockets, other: UdpSockets) -> None:
    impossible = [
        Datagram(to(0), b"no such port", 0),
        Datagram(to(0, source=socket.inet_aton("192.0.2.7")), b"nor source", 0),
        Datagram(to(other.port), bytes(65508), 0),
    ]
    assert sockets.send([*impossible, Datagram(to(other.port), b"good", 0)]) == 3
    assert arrived(other)[0][0] == b"good"


def test_closed_sockets_send_and_receive_nothing(other: UdpSockets) -> None:
    sockets = UdpSockets()
    v6 = Endpoint(bytes(15) + b"\1", other.port)
    assert sockets.send([Datagram(to(other.port), b"data", 0), Datagram(v6, b"data", 0)]) == 2
    assert sockets.receive(64) == []
    assert not sockets.is_open


def test_a_random_port_stays_the_port(sockets: UdpSockets) -> None:
    port = sockets.port
    assert port > 0
    sockets.close()
    assert sockets.port == port
    sockets.open()
    assert sockets.port == port


def test_a_port_in_use_keeps_the_old_one(sockets: UdpSockets, other: UdpSockets) -> None:
    port = sockets.port
    with pytest.raises(OSError, match=f"Errno {errno.EADDRINUSE}"):
        sockets.set_port(other.port)
    assert sockets.port == port
    other.send([Datagram(to(port), b"still here", 0)])
    assert arrived(sockets)[0][0] == b"still here"


def test_the_port_moves_while_open(sockets: UdpSockets, other: UdpSockets) -> None:
    old = sockets.port
    assert sockets.set_port(0)
    assert sockets.port not in (0, old)
    assert not sockets.set_port(sockets.port)
    other.send([Datagram(to(sockets.port), b"moved", 0)])
    assert arrived(sockets)[0][0] == b"moved"
    sockets.send([Datagram(to(other.port), b"moved too", 0)])
    assert arrived(other)[0][1].port == sockets.port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", old))


def test_the_port_of_closed_sockets_is_bound_when_they_open(other: UdpSockets) -> None:
    sockets = UdpSockets()
    assert sockets.set_port(other.port)
    with pytest.raises(OSError, match=f"Errno {errno.EADDRINUSE}"):
        sockets.open()
    assert not sockets.is_open
    assert sockets.port == other.port


@pytest.mark.parametrize("failure", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_host_without_ipv6_has_ipv4(
    monkeypatch: pytest.MonkeyPatch, other: UdpSockets, failure: int
) -> None:
    class WithoutIpv6(socket.socket):
        def __init__(self, family: int, kind: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(failure, "no IPv6")
            super().__init__(family, kind)

    monkeypatch.setattr("agent.tunnel.udp.socket.socket", WithoutIpv6)
    sockets = UdpSockets()
    sockets.open()
    v6 = Endpoint(bytes(15) + b"\1", other.port)
    assert sockets.send([Datagram(v6, b"lost", 0), Datagram(to(other.port), b"data", 0)]) == 1
    assert arrived(other)[0][0] == b"data"
    sockets.close()


def test_more_endpoints_than_are_remembered(sockets: UdpSockets, other: UdpSockets) -> None:
    sources = [Endpoint(bytes([127, 1, number >> 8, number & 255]), other.port) for number in range(5000)]
    for endpoint in sources:
        assert sockets.send([Datagram(endpoint, endpoint.ip, 0)]) == 0
        data, caller, _ = arrived(other)[0]
        assert data == caller.source
