"""The UDP sockets on the loopback."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterable, Iterator

import pytest

from agent.tunnel.offloads import Offloads
from agent.tunnel.sockopts import SOL_UDP, UDP_SEGMENT
from agent.tunnel.udp import Received, UdpSockets
from agent.wireguard.device import Datagrams
from agent.wireguard.endpoint import Endpoint

LOOPBACK = socket.inet_aton("127.0.0.1")


OFFLOADS = [Offloads(gso, gro) for gso in (True, False) for gro in (True, False)]
"""The kernels that this runs on have both, so each can be had with and without."""


@pytest.fixture(params=OFFLOADS, ids=str)
def offloads(request: pytest.FixtureRequest) -> Offloads:
    found: Offloads = request.param
    return found


@pytest.fixture
def sockets(offloads: Offloads) -> Iterator[UdpSockets]:
    yield from _opened(UdpSockets(offloads=offloads))


@pytest.fixture
def other(offloads: Offloads) -> Iterator[UdpSockets]:
    yield from _opened(UdpSockets(offloads=offloads))


def _opened(pair: UdpSockets) -> Iterator[UdpSockets]:
    pair.open()
    yield pair
    pair.close()


def arrived(sockets: UdpSockets, count: int = 1) -> list[Received]:
    """What comes in until there are `count`."""
    got: list[Received] = []
    while len(got) < count:
        assert select.select(sockets.filenos, [], [], 5)[0], f"only {len(got)} of {count} arrived"
        got += sockets.receive(dict.fromkeys(sockets.filenos, 64))
    return got


def one(endpoint: Endpoint, data: bytes, tos: int) -> Datagrams:
    return Datagrams(endpoint, tos, 1, len(data), (data,))


def row(endpoint: Endpoint, payloads: list[bytes], tos: int = 0) -> Datagrams:
    return Datagrams(endpoint, tos, len(payloads), len(payloads[0]), payloads)


def send(sockets: UdpSockets, rows: Iterable[Datagrams]) -> int:
    """How many were refused."""
    return sum(map(sockets.send, rows))


def to(port: int, source: bytes = b"") -> Endpoint:
    return Endpoint(LOOPBACK, port, source=source)


def test_a_batch_arrives_in_order_with_its_tos(sockets: UdpSockets, other: UdpSockets) -> None:
    tos = [0, 0x88, 1, 2, 3, 0xFF, 0]
    batch = [one(to(other.port), bytes([number]) * 1500, value) for number, value in enumerate(tos)]
    assert send(sockets, batch) == 0
    got = arrived(other, len(batch))
    assert [(data, value) for data, _, value in got] == [(sent.parts[0], sent.tos) for sent in batch]
    assert {endpoint[:2] for _, endpoint, _ in got} == {(LOOPBACK, sockets.port)}


def test_the_longest_datagram_there_can_be(sockets: UdpSockets, other: UdpSockets) -> None:
    data = bytes(range(256)) * 256
    assert send(sockets, [one(to(other.port), data[:65507], 0)]) == 0
    assert arrived(other)[0][0] == data[:65507]


def test_an_answer_leaves_from_the_address_that_was_contacted(sockets: UdpSockets, other: UdpSockets) -> None:
    contacted = socket.inet_aton("127.3.2.1")
    send(sockets, [one(Endpoint(contacted, other.port), b"call", 0)])
    _, caller, _ = arrived(other)[0]
    assert caller.source == contacted
    send(other, [one(caller, b"answer", 0x88)])
    data, answerer, tos = arrived(sockets)[0]
    assert (data, answerer.ip, tos) == (b"answer", contacted, 0x88)


def test_a_source_that_is_gone_is_left_out(sockets: UdpSockets, other: UdpSockets) -> None:
    gone = to(other.port, source=socket.inet_aton("192.0.2.7"))
    for _ in range(2):
        assert send(sockets, [one(gone, b"data", 2)]) == 0
        data, sender, tos = arrived(other)[0]
        assert (data, sender.ip, tos) == (b"data", LOOPBACK, 2)


def test_what_cannot_be_sent_is_counted_and_the_rest_sent(sockets: UdpSockets, other: UdpSockets) -> None:
    impossible = [
        one(to(0), b"no such port", 0),
        one(to(0, source=socket.inet_aton("192.0.2.7")), b"nor source", 0),
        one(to(other.port), bytes(65508), 0),
    ]
    assert send(sockets, [*impossible, one(to(other.port), b"good", 0)]) == 3
    assert arrived(other)[0][0] == b"good"


def test_closed_sockets_send_and_receive_nothing(other: UdpSockets) -> None:
    sockets = UdpSockets()
    v6 = Endpoint(bytes(15) + b"\1", other.port)
    assert send(sockets, [one(to(other.port), b"data", 0), one(v6, b"data", 0)]) == 2
    assert sockets.receive(dict.fromkeys(sockets.filenos, 64)) == []
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
    send(other, [one(to(port), b"still here", 0)])
    assert arrived(sockets)[0][0] == b"still here"


def test_the_port_moves_while_open(sockets: UdpSockets, other: UdpSockets) -> None:
    old = sockets.port
    assert sockets.set_port(0)
    assert sockets.port not in (0, old)
    assert not sockets.set_port(sockets.port)
    send(other, [one(to(sockets.port), b"moved", 0)])
    assert arrived(sockets)[0][0] == b"moved"
    send(sockets, [one(to(other.port), b"moved too", 0)])
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

    monkeypatch.setattr("agent.tunnel.bind.socket.socket", WithoutIpv6)
    sockets = UdpSockets()
    sockets.open()
    v6 = Endpoint(bytes(15) + b"\1", other.port)
    assert send(sockets, [one(v6, b"lost", 0), one(to(other.port), b"data", 0)]) == 1
    assert arrived(other)[0][0] == b"data"
    sockets.close()


def test_more_endpoints_than_are_remembered(sockets: UdpSockets, other: UdpSockets) -> None:
    sources = [Endpoint(bytes([127, 1, number >> 8, number & 255]), other.port) for number in range(5000)]
    for endpoint in sources:
        assert send(sockets, [one(endpoint, endpoint.ip, 0)]) == 0
        data, caller, _ = arrived(other)[0]
        assert data == caller.source


@pytest.mark.parametrize(
    ("number", "size", "last"), [(64, 1000, 1000), (45, 1452, 32), (2, 32, 1), (2, 9000, 9000)]
)
def test_a_row_arrives_as_datagrams_in_order(
    sockets: UdpSockets, other: UdpSockets, number: int, size: int, last: int
) -> None:
    payloads = [bytes([each]) * (size if each < number - 1 else last) for each in range(number)]
    assert send(sockets, [row(to(other.port), payloads, 0x88)]) == 0
    got = arrived(other, number)
    assert [(data, tos) for data, _, tos in got] == [(payload, 0x88) for payload in payloads]


def test_rows_to_several_and_from_several(sockets: UdpSockets, other: UdpSockets) -> None:
    third = UdpSockets(offloads=Offloads(True, True))
    third.open()
    here = [bytes([1, each]) * 50 for each in range(20)]
    there = [bytes([2, each]) * 70 for each in range(30)]
    assert send(sockets, [row(to(third.port), here[:10]), row(to(other.port), there)]) == 0
    assert send(other, [row(to(third.port), there)]) == 0
    assert send(sockets, [row(to(third.port), here[10:])]) == 0
    got = arrived(third, len(here) + len(there))
    for sender, sent in ((sockets, here), (other, there)):
        assert [data for data, endpoint, _ in got if endpoint.port == sender.port] == sent
    third.close()


def test_a_row_from_a_source_that_is_gone_is_sent_without_it(sockets: UdpSockets, other: UdpSockets) -> None:
    gone = to(other.port, source=socket.inet_aton("192.0.2.7"))
    payloads = [bytes([each]) * 200 for each in range(9)]
    for _ in range(2):
        assert send(sockets, [row(gone, payloads)]) == 0
        assert [data for data, _, _ in arrived(other, 9)] == payloads


def test_a_row_that_nobody_takes_is_counted_whole(sockets: UdpSockets) -> None:
    v6 = Endpoint(bytes.fromhex("20010db8000000000000000000000001"), 9)
    assert send(sockets, [row(to(0), [b"one", b"two", b"3"])]) == 3
    sockets.close()
    assert send(sockets, [row(v6, [b"one", b"two"])]) == 2


def test_a_path_that_takes_no_rows_gets_single_datagrams(
    monkeypatch: pytest.MonkeyPatch, other: UdpSockets
) -> None:
    """As where the interface computes no checksums (EIO), or datagrams are over the path's MTU (EINVAL)."""
    failures = [errno.EINVAL, errno.EIO]
    tried = []

    class Choosy(socket.socket):
        def sendmsg(self, buffers, ancillary=(), flags=0, address=None):  # type: ignore[no-untyped-def]
            if any((level, kind) == (SOL_UDP, UDP_SEGMENT) for level, kind, _ in ancillary):
                tried.append(1)
                raise OSError(failures[len(tried) - 1], "no rows here")
            return super().sendmsg(buffers, ancillary, flags, address)

    monkeypatch.setattr("agent.tunnel.bind.socket.socket", Choosy)
    said: list[str] = []
    sockets = UdpSockets(offloads=Offloads(gso=True), say=said.append)
    sockets.open()
    payloads = [bytes([each]) * 100 for each in range(5)]
    for _ in range(4):
        assert send(sockets, [row(to(other.port), payloads)]) == 0
        assert [data for data, _, _ in arrived(other, 5)] == payloads
    sockets.close()
    assert len(tried) == 2, "after EIO rows are not tried any more, after EINVAL they are"
    assert said == ["datagrams are sent one by one from now on: no rows here"]


def test_after_a_wait_in_vain_none_waits_until_there_is_room(
    monkeypatch: pytest.MonkeyPatch, other: UdpSockets, offloads: Offloads
) -> None:
    """Each family for itself: the room that one finds says nothing about the other."""
    full: set[int] = set()
    waited: list[int] = []

    class Full(socket.socket):
        def sendmsg(self, buffers, ancillary=(), flags=0, address=None):  # type: ignore[no-untyped-def]
            if self.family in full:
                if not flags & socket.MSG_DONTWAIT:
                    waited.append(self.family)
                raise BlockingIOError(errno.EAGAIN, "no room")
            return super().sendmsg(buffers, ancillary, flags, address)

    monkeypatch.setattr("agent.tunnel.bind.socket.socket", Full)
    sockets = UdpSockets(offloads=offloads)
    sockets.open()
    v6 = Endpoint(bytes(15) + b"\1", other.port)
    for batch in ([b"one"], [b"one", b"two"]):
        for _ in range(2):
            waited.clear()
            full.add(socket.AF_INET)
            assert send(sockets, [row(to(other.port), batch)]) == len(batch)
            assert send(sockets, [row(v6, batch), row(to(other.port), batch)]) == len(batch)
            assert waited == [socket.AF_INET]
            full.clear()
            assert send(sockets, [row(to(other.port), batch)]) == 0
            assert len(arrived(other, 2 * len(batch))) == 2 * len(batch)
    sockets.close()


def test_a_turn_takes_up_as_much_as_it_may_and_the_rest_of_a_row(
    sockets: UdpSockets, other: UdpSockets, offloads: Offloads
) -> None:
    v4, v6 = other.filenos
    for number in range(9):
        for endpoint in (to(other.port), Endpoint(bytes(15) + b"\1", other.port)):
            assert send(sockets, [one(endpoint, bytes([number]), 0)]) == 0
    payloads = [bytes([number]) * 30 for number in range(40)]
    assert send(sockets, [row(to(other.port), payloads)]) == 0

    def taken(limits: dict[int, int]) -> list[int]:
        """How many datagrams of each family."""
        received = other.receive(limits)
        return [sum(len(endpoint.ip) == size for _, endpoint, _ in received) for size in (4, 16)]

    assert taken({}) == [0, 0]
    assert taken({v4: 2}) == [2, 0]
    assert taken({v6: 3, v4: 4}) == [4, 3]
    assert taken({v4: 4, v6: 64}) == [3 + len(payloads) if offloads.gro and offloads.gso else 4, 6]
