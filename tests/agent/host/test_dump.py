"""What the kernel's answers are taken for: messages that the library makes, whole, cut and spoilt."""

from __future__ import annotations

import base64
import errno
import ipaddress
import socket
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.generic.wireguard import wgmsg

from agent.bundle import join_endpoint
from agent.host.device import DeviceState, PeerState
from agent.host.dump import Dump

KEY, OTHER, PSK = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
FAMILY = 30
DONE = struct.pack("=IHHIIi", 20, 3, 0, 0, 0, 0)


def state(*pieces: bytes) -> DeviceState:
    dump = Dump(FAMILY)
    for piece in pieces:
        dump.feed(piece)
        assert not dump.complete
    dump.feed(DONE)
    assert dump.complete
    assert not dump.interrupted
    return dump.state()


def reply(*attrs: list[Any]) -> bytes:
    """A message as the kernel would send it, made by the library."""
    message: Any = wgmsg()  # type: ignore[no-untyped-call]
    message["attrs"].extend(attrs)
    message["header"]["type"] = FAMILY
    message.encode()
    return bytes(message.data)


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
    assert state(first, second) == DeviceState(
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


def test_a_link_local_endpoint_says_on_which_link() -> None:
    address = {"addr": "fe80::7", "port": 5, "flowinfo": 0, "scope_id": socket.htonl(3)}
    message = reply(["WGDEVICE_A_PEERS", [peer_reply(OTHER, ["WGPEER_A_ENDPOINT", address])]])
    (peer,) = state(message).peers
    assert peer.endpoint == "[fe80::7%3]:5"


def test_a_device_without_anything() -> None:
    nothing = ["WGDEVICE_A_PRIVATE_KEY", base64.b64encode(bytes(32))]
    assert state(reply(nothing)) == DeviceState()


keys = st.binary(min_size=32, max_size=32).filter(any)
maybe_keys = st.none() | keys
u16 = st.integers(0, 2**16 - 1)
u64 = st.integers(0, 2**64 - 1)
addresses = st.ip_addresses().map(str)
prefixes = addresses.flatmap(
    lambda ip: st.integers(0, ipaddress.ip_address(ip).max_prefixlen).map(lambda length: f"{ip}/{length}")
)
scopes = st.integers(0, 2**32 - 1)


@st.composite
def endpoints(draw: st.DrawFn) -> str:
    ip, port = draw(addresses.filter(lambda ip: "%" not in ip)), draw(u16)
    scope = draw(scopes) if ":" in ip else 0
    return join_endpoint(f"{socket_text(ip)}%{scope}" if scope else socket_text(ip), port)


def socket_text(ip: str) -> str:
    """As the C library words it, which differs for IPv4 within IPv6."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return socket.inet_ntop(family, socket.inet_pton(family, ip))


peers = st.builds(
    PeerState,
    public_key=keys,
    preshared_key=maybe_keys,
    endpoint=st.none() | endpoints(),
    allowed_ips=st.lists(
        prefixes.map(lambda text: f"{socket_text(text.split('/')[0])}/{text.split('/')[1]}"), max_size=8
    ).map(tuple),
    persistent_keepalive=u16,
    latest_handshake_ns=st.integers(0, 2**62),
    rx_bytes=u64,
    tx_bytes=u64,
)
devices = st.builds(
    DeviceState,
    private_key=maybe_keys,
    public_key=maybe_keys,
    listen_port=u16,
    fwmark=st.integers(0, 2**32 - 1),
    peers=st.lists(peers, max_size=5, unique_by=lambda peer: peer.public_key).map(tuple),
)


def base64_of(key: Any) -> bytes:
    return base64.b64encode(key or bytes(32))


def peer_in_full(peer: PeerState) -> dict[str, Any]:
    seconds, nanoseconds = divmod(peer.latest_handshake_ns, 10**9)
    attrs: list[list[Any]] = [
        ["WGPEER_A_PRESHARED_KEY", base64_of(peer.preshared_key)],
        ["WGPEER_A_LAST_HANDSHAKE_TIME", {"tv_sec": seconds, "tv_nsec": nanoseconds}],
        ["WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", peer.persistent_keepalive],
        ["WGPEER_A_TX_BYTES", peer.tx_bytes],
        ["WGPEER_A_RX_BYTES", peer.rx_bytes],
        ["WGPEER_A_PROTOCOL_VERSION", 1],
    ]
    if peer.endpoint is not None:
        host, _, port = peer.endpoint.rpartition(":")
        ip, _, scope = host.strip("[]").partition("%")
        endpoint: dict[str, Any] = {"addr": ip, "port": int(port)}
        if ":" in ip:
            endpoint.update(flowinfo=0, scope_id=socket.htonl(int(scope or 0)))
        attrs.append(["WGPEER_A_ENDPOINT", endpoint])
    return peer_reply(peer.public_key, *attrs, ips(*peer.allowed_ips))


def device_reply(device: DeviceState) -> bytes:
    return reply(
        ["WGDEVICE_A_IFINDEX", 3],
        ["WGDEVICE_A_IFNAME", "wg0"],
        ["WGDEVICE_A_PRIVATE_KEY", base64_of(device.private_key)],
        ["WGDEVICE_A_PUBLIC_KEY", base64_of(device.public_key)],
        ["WGDEVICE_A_LISTEN_PORT", device.listen_port],
        ["WGDEVICE_A_FWMARK", device.fwmark],
        ["WGDEVICE_A_PEERS", [peer_in_full(peer) for peer in device.peers]],
    )


@given(devices)
def test_a_device_is_read_as_it_was_worded(device: DeviceState) -> None:
    assert state(device_reply(device)) == device


@given(devices, st.data())
def test_spoilt_bytes_are_an_os_error_or_a_device(device: DeviceState, data: st.DataObject) -> None:
    spoilt = bytearray(device_reply(device))
    for at in data.draw(st.lists(st.integers(0, len(spoilt) - 1), min_size=1, max_size=4)):
        spoilt[at] = data.draw(st.integers(0, 255))
    fed(bytes(spoilt[: data.draw(st.integers(0, len(spoilt)))]))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_os_error_or_a_device(data: bytes) -> None:
    fed(data)
    fed(struct.pack("=IHHIII", 20 + len(data), FAMILY, 0, 0, 0, 0) + data)


def fed(data: bytes) -> None:
    dump = Dump(FAMILY)
    with suppress(OSError):
        dump.feed(data)
    assert isinstance(dump.state(), DeviceState)


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_message_that_is_cut_is_no_answer(cut: int) -> None:
    whole = device_reply(DeviceState(private_key=KEY, peers=(PeerState(OTHER, endpoint="192.0.2.1:5"),)))
    with pytest.raises(OSError) as caught:  # noqa: PT011
        Dump(FAMILY).feed(whole[:-cut])
    assert caught.value.errno == errno.EPROTO


def test_a_part_that_says_so_was_interrupted() -> None:
    whole = bytearray(device_reply(DeviceState()))
    whole[6] |= 0x10
    dump = Dump(FAMILY)
    dump.feed(bytes(whole))
    assert dump.interrupted
    assert not dump.complete


def test_parts_may_come_in_one_piece() -> None:
    first, second = (PeerState(KEY, allowed_ips=("10.0.0.0/8",)), PeerState(KEY, allowed_ips=("fd00::/8",)))
    dump = Dump(FAMILY)
    dump.feed(device_reply(DeviceState(peers=(first,))) + device_reply(DeviceState(peers=(second,))) + DONE)
    assert dump.complete
    assert dump.state().peers == (PeerState(KEY, allowed_ips=("10.0.0.0/8", "fd00::/8")),)
