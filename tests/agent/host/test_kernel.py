"""The kernel's devices: what is put on the wire, read byte by byte, and what answers lead to."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Any, Optional

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from agent.host.device import DeviceEdit, DeviceState, PeerEdit, PeerState, SocketAddress
from agent.host.genetlink import Connection
from agent.host.kernel import KernelDevice

KEY, OTHER, PSK = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
FAMILY = 30

# include/uapi/linux/wireguard.h
GET, SET = 0, 1
IFNAME, PRIVATE_KEY, FLAGS, LISTEN_PORT, FWMARK, PEERS = 2, 3, 5, 6, 7, 8
PEER_KEY, PEER_PSK, PEER_FLAGS, PEER_ENDPOINT, PEER_KEEPALIVE, PEER_IPS = 1, 2, 3, 4, 5, 9
REPLACE_PEERS = 1
REMOVE, REPLACE_ALLOWED_IPS, UPDATE_ONLY = 1, 2, 4
REQUEST_ACK, REQUEST_DUMP, DUMP_INTR = 0x05, 0x301, 0x10
# include/uapi/linux/netlink.h, genetlink.h
ERROR, DONE, CONTROL = 2, 3, 16
GET_FAMILY, FAMILY_NAME = 3, 2


class FakeNetlink:
    """Stands where the library's generic netlink socket does: keeps what would be sent."""

    prid = FAMILY

    def __init__(self, fail: Optional[int] = None) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.closed = 0
        self._fail = fail

    def nlm_request(self, message: Any, msg_type: int, msg_flags: int) -> Iterator[Any]:
        assert msg_type == FAMILY
        message["header"]["type"] = msg_type
        message.encode()
        self.sent.append((msg_flags, bytes(message.data)))
        if self._fail is not None:
            raise NetlinkError(self._fail)  # type: ignore[no-untyped-call]
        return iter(())

    def close(self) -> None:
        self.closed += 1


def attributes(data: bytes) -> list[tuple[int, bytes]]:
    """Netlink attributes, without their flags (netlink(7))."""
    found = []
    while data:
        length, kind = struct.unpack_from("=HH", data)
        found.append((kind & 0x3FFF, data[4:length]))
        data = data[(length + 3) & ~3 :]
    return found


def sent(edit: DeviceEdit) -> list[dict[int, bytes]]:
    """The attributes of every message that makes the change."""
    netlink = FakeNetlink()
    KernelDevice(library=lambda: netlink).write("wg0", edit)
    messages = []
    for flags, data in netlink.sent:
        assert flags == REQUEST_ACK
        assert data[16:18] == bytes([SET, 1])
        found = dict(attributes(data[20:]))
        assert found[IFNAME] == b"wg0\0"
        messages.append(found)
    return messages


def peers(message: dict[int, bytes]) -> list[dict[int, bytes]]:
    return [dict(attributes(peer)) for _, peer in attributes(message[PEERS])]


def prefixes(peer: dict[int, bytes]) -> list[str]:
    found = []
    for _, one in attributes(peer.get(PEER_IPS, b"")):
        fields = dict(attributes(one))
        (family,) = struct.unpack("=H", fields[1])
        found.append(f"{socket.inet_ntop(family, fields[2])}/{fields[3][0]}")
    return found


def test_what_is_set_on_a_device() -> None:
    (message,) = sent(DeviceEdit(private_key=KEY, listen_port=51820, fwmark=7))
    assert message == {
        IFNAME: b"wg0\0",
        PRIVATE_KEY: KEY,
        LISTEN_PORT: struct.pack("=H", 51820),
        FWMARK: struct.pack("=I", 7),
    }


def test_zeros_are_set_too() -> None:
    (message,) = sent(DeviceEdit(listen_port=0, fwmark=0))
    assert message[LISTEN_PORT] == bytes(2)
    assert message[FWMARK] == bytes(4)


def test_a_new_peer() -> None:
    edit = PeerEdit(
        OTHER,
        new=True,
        preshared_key=PSK,
        endpoint=SocketAddress("192.0.2.7", 51820),
        persistent_keepalive=25,
        allowed_ips=("10.0.0.2/32", "fd00::/64"),
    )
    (message,) = sent(DeviceEdit(peers=(edit,)))
    (peer,) = peers(message)
    assert peer[PEER_KEY] == OTHER
    assert peer[PEER_PSK] == PSK
    assert peer[PEER_FLAGS] == bytes(4)
    assert peer[PEER_ENDPOINT] == struct.pack("=H", socket.AF_INET) + struct.pack(
        ">H4s8x", 51820, bytes([192, 0, 2, 7])
    )
    assert peer[PEER_KEEPALIVE] == struct.pack("=H", 25)
    assert prefixes(peer) == ["10.0.0.2/32", "fd00::/64"]


def test_an_endpoint_on_one_link() -> None:
    edit = PeerEdit(OTHER, endpoint=SocketAddress("fe80::1", 5, 3))
    (message,) = sent(DeviceEdit(peers=(edit,)))
    (peer,) = peers(message)
    address = socket.inet_pton(socket.AF_INET6, "fe80::1")
    assert peer[PEER_ENDPOINT] == struct.pack("=H", socket.AF_INET6) + struct.pack(
        ">HI16s", 5, 0, address
    ) + struct.pack("=I", 3)


def test_a_peer_that_does_not_exist_is_not_made_by_a_change() -> None:
    (message,) = sent(DeviceEdit(peers=(PeerEdit(OTHER, persistent_keepalive=0),)))
    assert peers(message) == [
        {PEER_KEY: OTHER, PEER_FLAGS: struct.pack("=I", UPDATE_ONLY), PEER_KEEPALIVE: bytes(2)}
    ]


def test_one_message_gives_prefixes_away_and_takes_them_along() -> None:
    given, removed = PeerEdit(OTHER, new=True, allowed_ips=("10.0.0.0/8",)), PeerEdit(OTHER, remove=True)
    (message,) = sent(DeviceEdit(peers=(given, removed)))
    first, second = peers(message)
    assert prefixes(first) == ["10.0.0.0/8"]
    assert second == {PEER_KEY: OTHER, PEER_FLAGS: struct.pack("=I", REMOVE | UPDATE_ONLY)}


def test_what_was_there_is_replaced_once() -> None:
    wanted = tuple(f"10.{n >> 8}.{n & 255}.0/24" for n in range(2000))
    peer = PeerEdit(OTHER, new=True, allowed_ips=wanted, replace_allowed_ips=True)
    messages = sent(DeviceEdit(peers=(peer, PeerEdit(KEY, new=True)), replace_peers=True))
    flags = [struct.unpack("=I", message.get(FLAGS, bytes(4)))[0] for message in messages]
    assert flags == [REPLACE_PEERS] + [0] * (len(messages) - 1)
    pieces = [peer for message in messages for peer in peers(message)]
    assert [struct.unpack("=I", piece[PEER_FLAGS])[0] for piece in pieces] == [
        REPLACE_ALLOWED_IPS,
        *[UPDATE_ONLY] * (len(pieces) - 2),
        0,
    ]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("count", [994, 995, 996, 5000])
def test_a_long_list_goes_in_several_messages(version: int, count: int) -> None:
    wanted = tuple(
        f"10.{n >> 8}.{n & 255}.0/24" if version == 4 else f"fd00:{n + 1:x}::/32" for n in range(count)
    )
    edits = (PeerEdit(OTHER, new=True, preshared_key=PSK, allowed_ips=wanted), PeerEdit(KEY, new=True))
    netlink = FakeNetlink()
    KernelDevice(library=lambda: netlink).write("wg0", DeviceEdit(private_key=KEY, peers=edits))
    messages = [dict(attributes(data[20:])) for _, data in netlink.sent]
    assert all(len(message[PEERS]) < 65000 for message in messages)
    assert [PRIVATE_KEY in message for message in messages] == [True] + [False] * (len(messages) - 1)
    pieces = [peer for message in messages for peer in peers(message)]
    assert [peer[PEER_KEY] for peer in pieces[:-1]] == [OTHER] * (len(pieces) - 1)
    assert pieces[-1][PEER_KEY] == KEY
    assert [prefix for peer in pieces for prefix in prefixes(peer)] == list(wanted)
    assert [PEER_PSK in peer for peer in pieces] == [True] + [False] * (len(pieces) - 1)
    updates = [peer[PEER_FLAGS] == struct.pack("=I", UPDATE_ONLY) for peer in pieces[:-1]]
    assert updates == [False] + [True] * (len(pieces) - 2)


def test_what_the_kernel_refuses_to_set_is_an_os_error() -> None:
    netlink = FakeNetlink(fail=errno.EADDRINUSE)
    with pytest.raises(OSError) as caught:  # noqa: PT011
        KernelDevice(library=lambda: netlink).write("wg0", DeviceEdit())
    assert caught.value.errno == errno.EADDRINUSE
    assert netlink.closed == 1


class FakeConnection(Connection):
    """Answers the question for the family, then each for the device with all these pieces."""

    def __init__(self, *pieces: bytes, family: bytes = b"", interrupted: int = 0) -> None:
        self.sent: list[bytes] = []
        self.closed = 0
        self._family = family or packed(CONTROL, attribute(1, struct.pack("=H", FAMILY)))
        self._pieces = pieces
        self._interrupted = interrupted
        self._waiting: list[bytes] = []

    def send(self, data: bytes) -> None:
        assert not self._waiting
        self.sent.append(data)
        if len(self.sent) == 1:
            self._waiting = [self._family]
            return
        flags = DUMP_INTR if len(self.sent) - 1 <= self._interrupted else 0
        self._waiting = [*self._pieces, packed(DONE, bytes(4), flags)]

    def receive(self) -> bytes:
        return self._waiting.pop(0)

    def close(self) -> None:
        self.closed += 1


def packed(kind: int, body: bytes, flags: int = 0) -> bytes:
    """A netlink message; one of a generic family has a header of its own."""
    body = body if kind in (DONE, ERROR) else bytes(4) + body
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def refusal(number: int) -> bytes:
    return packed(ERROR, struct.pack("=i16x", -number))


PORT = packed(FAMILY, attribute(LISTEN_PORT, struct.pack("=H", 5)))


def test_what_is_asked() -> None:
    connection = FakeConnection(PORT)
    assert KernelDevice(lambda: connection).read("wg0") == DeviceState(listen_port=5)
    family, device = connection.sent
    assert struct.unpack_from("=IHHIIBB", family) == (len(family), CONTROL, 1, 0, 0, GET_FAMILY, 1)
    assert attributes(family[20:]) == [(FAMILY_NAME, b"wireguard\0")]
    assert struct.unpack_from("=IHHIIBB", device) == (len(device), FAMILY, REQUEST_DUMP, 0, 0, GET, 1)
    assert attributes(device[20:]) == [(IFNAME, b"wg0\0")]
    assert connection.closed == 1


@pytest.mark.parametrize(("interrupted", "requests"), [(0, 1), (1, 2), (3, 4), (99, 5)])
def test_a_dump_that_a_change_interrupted_is_asked_for_again(interrupted: int, requests: int) -> None:
    connection = FakeConnection(PORT, interrupted=interrupted)
    assert KernelDevice(lambda: connection).read("wg0") == DeviceState(listen_port=5)
    assert len(connection.sent) == 1 + requests


@pytest.mark.parametrize(
    ("connection", "number"),
    [
        (FakeConnection(family=refusal(errno.ENOENT)), errno.ENOENT),
        (FakeConnection(family=packed(CONTROL, b"")), errno.EPROTO),
        (FakeConnection(family=packed(CONTROL, attribute(1, b"x"))), errno.EPROTO),
        (FakeConnection(family=packed(DONE, bytes(4))), errno.EPROTO),
        (FakeConnection(refusal(errno.ENODEV)), errno.ENODEV),
        (FakeConnection(packed(DONE, struct.pack("=i", -errno.EOPNOTSUPP))), errno.EOPNOTSUPP),
        (FakeConnection(refusal(1 << 30)), errno.EPROTO),
        (FakeConnection(packed(FAMILY + 1, b"")), errno.EPROTO),
        (FakeConnection(packed(ERROR, b"")), errno.EPROTO),
    ],
)
def test_what_is_refused_or_no_answer_is_an_os_error(connection: FakeConnection, number: int) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011
        KernelDevice(lambda: connection).read("wg0")
    assert caught.value.errno == number
    assert connection.closed == 1


def test_this_kernel_answers() -> None:
    """It has no such device, whether or not it has WireGuard."""
    with pytest.raises(OSError) as caught:  # noqa: PT011
        KernelDevice().read("none-such")
    assert caught.value.errno in (errno.ENODEV, errno.ENOENT, errno.EPERM)


def test_keys_do_not_show() -> None:
    edit = DeviceEdit(private_key=KEY, peers=(PeerEdit(OTHER, preshared_key=PSK),))
    assert str(KEY) not in repr(edit)
    assert str(PSK) not in repr(edit)
    assert str(KEY) not in repr(DeviceState(private_key=KEY, peers=(PeerState(OTHER, preshared_key=PSK),)))
