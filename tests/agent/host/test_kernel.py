"""The kernel's devices: what is put on the wire, read byte by byte, and what dumps are taken for."""

from __future__ import annotations

import base64
import errno
import socket
import struct
from collections.abc import Iterator
from typing import Any, Callable, Optional

import pytest
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic.wireguard import wgmsg

from agent.host.device import DeviceEdit, DeviceState, PeerEdit, PeerState, SocketAddress
from agent.host.kernel import KernelDevice, state

KEY, OTHER, PSK = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
FAMILY = 30

# include/uapi/linux/wireguard.h
GET, SET = 0, 1
IFNAME, PRIVATE_KEY, FLAGS, LISTEN_PORT, FWMARK, PEERS = 2, 3, 5, 6, 7, 8
PEER_KEY, PEER_PSK, PEER_FLAGS, PEER_ENDPOINT, PEER_KEEPALIVE, PEER_IPS = 1, 2, 3, 4, 5, 9
REPLACE_PEERS = 1
REMOVE, REPLACE_ALLOWED_IPS, UPDATE_ONLY = 1, 2, 4
REQUEST_ACK, REQUEST_DUMP, DUMP_INTR = 0x05, 0x301, 0x10


class FakeNetlink:
    """Stands where the library's generic netlink socket does: keeps what would be sent, gives answers."""

    prid = FAMILY

    def __init__(self, *answers: Any, fail: Optional[int] = None, interrupted: int = 0) -> None:
        self.interrupted = interrupted
        self.sent: list[tuple[int, bytes]] = []
        self.closed = 0
        self._answers = answers
        self._fail = fail

    def nlm_request(self, message: Any, msg_type: int, msg_flags: int) -> Iterator[Any]:
        assert msg_type == FAMILY
        message["header"]["type"] = msg_type
        message.encode()
        self.sent.append((msg_flags, bytes(message.data)))
        if self._fail is not None:
            raise NetlinkError(self._fail)  # type: ignore[no-untyped-call]
        for answer in self._answers:
            answer["header"]["flags"] = DUMP_INTR if len(self.sent) <= self.interrupted else 0
        return iter(self._answers)

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
    KernelDevice(lambda: netlink).write("wg0", edit)
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
    KernelDevice(lambda: netlink).write("wg0", DeviceEdit(private_key=KEY, peers=edits))
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


def reply(*attrs: list[Any]) -> Any:
    """A message as the library hands it on."""
    message: Any = wgmsg()  # type: ignore[no-untyped-call]
    message["attrs"].extend(attrs)
    message["header"]["type"] = FAMILY
    message.encode()
    found: Any = wgmsg(message.data)  # type: ignore[no-untyped-call]
    found.decode()
    return found


def peer_reply(public_key: bytes, *attrs: list[Any]) -> dict[str, Any]:
    return {"attrs": [["WGPEER_A_PUBLIC_KEY", base64.b64encode(public_key)], *attrs]}


def ips(*texts: str) -> list[Any]:
    found = []
    for text in texts:
        ip, length = text.split("/")
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        found.append(
            {
                "attrs": [
                    ["WGALLOWEDIP_A_FAMILY", int(family)],
                    ["WGALLOWEDIP_A_IPADDR", socket.inet_pton(family, ip)],
                    ["WGALLOWEDIP_A_CIDR_MASK", int(length)],
                ]
            }
        )
    return ["WGPEER_A_ALLOWEDIPS", found]


def test_a_dump_is_read_over_several_messages() -> None:
    first = reply(
        ["WGDEVICE_A_PRIVATE_KEY", base64.b64encode(KEY)],
        ["WGDEVICE_A_PUBLIC_KEY", base64.b64encode(PSK)],
        ["WGDEVICE_A_LISTEN_PORT", 51820],
        ["WGDEVICE_A_FWMARK", 7],
        [
            "WGDEVICE_A_PEERS",
            [
                peer_reply(
                    OTHER,
                    ["WGPEER_A_PRESHARED_KEY", base64.b64encode(bytes(32))],
                    ["WGPEER_A_ENDPOINT", {"addr": "2001:db8::7", "port": 5, "flowinfo": 0, "scope_id": 0}],
                    ["WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", 25],
                    ["WGPEER_A_LAST_HANDSHAKE_TIME", {"tv_sec": 1700000000, "tv_nsec": 500000000}],
                    ["WGPEER_A_RX_BYTES", 2**40],
                    ["WGPEER_A_TX_BYTES", 9],
                    ips("10.0.0.2/32"),
                )
            ],
        ],
    )
    second = reply(
        ["WGDEVICE_A_PEERS", [peer_reply(OTHER, ips("fd00::/64")), peer_reply(PSK, ips("0.0.0.0/0"))]]
    )
    netlink = FakeNetlink(first, second)
    assert KernelDevice(lambda: netlink).read("wg0") == DeviceState(
        private_key=KEY,
        public_key=PSK,
        listen_port=51820,
        fwmark=7,
        peers=(
            PeerState(
                OTHER,
                endpoint="[2001:db8::7]:5",
                allowed_ips=("10.0.0.2/32", "fd00::/64"),
                persistent_keepalive=25,
                latest_handshake_ns=1_700_000_000_500_000_000,
                rx_bytes=2**40,
                tx_bytes=9,
            ),
            PeerState(PSK, allowed_ips=("0.0.0.0/0",)),
        ),
    )
    ((flags, data),) = netlink.sent
    assert (flags, data[16], dict(attributes(data[20:]))) == (REQUEST_DUMP, GET, {IFNAME: b"wg0\0"})
    assert netlink.closed == 1


def test_a_link_local_endpoint_says_on_which_link() -> None:
    address = {"addr": "fe80::7", "port": 5, "flowinfo": 0, "scope_id": socket.htonl(3)}
    message = reply(["WGDEVICE_A_PEERS", [peer_reply(OTHER, ["WGPEER_A_ENDPOINT", address])]])
    (peer,) = state([message]).peers
    assert peer.endpoint == "[fe80::7%3]:5"


def test_a_device_without_anything() -> None:
    nothing = ["WGDEVICE_A_PRIVATE_KEY", base64.b64encode(bytes(32))]
    assert state([reply(nothing)]) == DeviceState()


@pytest.mark.parametrize(("interrupted", "requests"), [(0, 1), (1, 2), (3, 4), (99, 5)])
def test_a_dump_that_a_change_interrupted_is_asked_for_again(interrupted: int, requests: int) -> None:
    netlink = FakeNetlink(reply(["WGDEVICE_A_LISTEN_PORT", 5]), interrupted=interrupted)
    assert KernelDevice(lambda: netlink).read("wg0") == DeviceState(listen_port=5)
    assert len(netlink.sent) == requests


@pytest.mark.parametrize(
    "act", [lambda device: device.read("wg0"), lambda device: device.write("wg0", DeviceEdit())]
)
def test_what_the_kernel_refuses_is_an_os_error(act: Callable[[KernelDevice], object]) -> None:
    netlink = FakeNetlink(fail=errno.EADDRINUSE)
    with pytest.raises(OSError) as caught:  # noqa: PT011
        act(KernelDevice(lambda: netlink))
    assert caught.value.errno == errno.EADDRINUSE
    assert netlink.closed == 1


def test_keys_do_not_show() -> None:
    edit = DeviceEdit(private_key=KEY, peers=(PeerEdit(OTHER, preshared_key=PSK),))
    assert str(KEY) not in repr(edit)
    assert str(PSK) not in repr(edit)
    assert str(KEY) not in repr(DeviceState(private_key=KEY, peers=(PeerState(OTHER, preshared_key=PSK),)))
