"""The userspace API on a real device: what requests do, and the errors that wireguard-go answers, too."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.tunnel.uapi import Uapi, parse_endpoint, print_endpoint
from agent.tunnel.udp import UdpSockets
from agent.wireguard.clock import Time
from agent.wireguard.device import Device
from agent.wireguard.endpoint import Endpoint

NOW = Time(1000.0, 1_700_000_000_000_000_000)
KEY = bytes(range(32))


class Tunnel(NamedTuple):
    """A device that is configured over the API."""

    device: Device
    sockets: UdpSockets
    uapi: Uapi

    def ask(self, request: str) -> str:
        """The answer to a whole request, without its empty line."""
        reply = self.uapi.serve(request)
        while True:
            try:
                next(reply)
            except StopIteration as done:
                answer: str = done.value
                assert answer.endswith("\n\n")
                return answer[:-1]

    def set(self, *lines: str) -> int:
        """The errno that setting these answers."""
        name, _, number = self.ask("\n".join(["set=1", *lines])).strip().partition("=")
        assert name == "errno"
        return int(number)

    def get(self) -> list[str]:
        """The lines of a get, after which there was no error."""
        *lines, last = self.ask("get=1").splitlines()
        assert last == "errno=0"
        return lines


def make_tunnel() -> Tunnel:
    device, sockets = Device(os.urandom), UdpSockets()
    return Tunnel(device, sockets, Uapi(device, sockets, lambda: NOW))


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    made = make_tunnel()
    yield made
    made.sockets.close()


def key(number: int) -> str:
    return hashlib.blake2s(number.to_bytes(4, "big")).hexdigest()


PEER = f"public_key={key(1)}"


@pytest.mark.parametrize(
    ("expected", "lines"),
    [
        (0, []),
        (-errno.EINVAL, ["unknown=1"]),
        (-errno.EPROTO, ["no equals sign"]),
        (-errno.EPROTO, [PEER, "endpoint"]),
        (-errno.EINVAL, ["listen_port=99999"]),
        (-errno.EINVAL, ["listen_port=-1"]),
        (-errno.EINVAL, ["listen_port="]),
        (-errno.EINVAL, ["listen_port=٣"]),
        (-errno.EINVAL, ["listen_port=" + "9" * 100_000]),
        (-errno.EINVAL, ["private_key=zz"]),
        (-errno.EINVAL, ["private_key=" + "0" * 63]),
        (-errno.EINVAL, ["private_key=" + "0" * 62 + " 0"]),
        (-errno.EINVAL, ["fwmark=0x10"]),
        (-errno.EINVAL, [f"fwmark={1 << 32}"]),
        (0, [f"fwmark={(1 << 32) - 1}"]),
        (-errno.EINVAL, ["replace_peers=false"]),
        (-errno.EINVAL, ["replace_peers="]),
        (-errno.EINVAL, ["allowed_ip=10.0.0.0/8"]),
        (-errno.EINVAL, ["preshared_key=" + key(2)]),
        (-errno.EINVAL, ["public_key=" + key(2)[1:]]),
        (0, [PEER, "update_only=true"]),
        (-errno.EINVAL, [PEER, "update_only=false"]),
        (0, [PEER, "remove=true"]),
        (-errno.EINVAL, [PEER, "remove=false"]),
        (-errno.EINVAL, [PEER, "private_key=" + key(2)]),
        (-errno.EINVAL, [PEER, "listen_port=1"]),
        (0, [PEER, "protocol_version=1"]),
        (-errno.EINVAL, [PEER, "protocol_version=2"]),
        (0, [PEER, "allowed_ip=10.0.0.0/32"]),
        (-errno.EINVAL, [PEER, "allowed_ip=10.0.0.0/33"]),
        (-errno.EINVAL, [PEER, "allowed_ip=fd00::/129"]),
        (-errno.EINVAL, [PEER, "allowed_ip=10.0.0.0"]),
        (-errno.EINVAL, [PEER, "allowed_ip=10.0.0.0/"]),
        (-errno.EINVAL, [PEER, "allowed_ip=10.0.0.0/255.0.0.0"]),
        (-errno.EINVAL, [PEER, "allowed_ip=fe80::%lo/64"]),
        (-errno.EINVAL, [PEER, "allowed_ip=/8"]),
        (-errno.EINVAL, [PEER, "allowed_ip=--10.0.0.0/8"]),
        (0, [PEER, "persistent_keepalive_interval=65535"]),
        (-errno.EINVAL, [PEER, "persistent_keepalive_interval=65536"]),
        (-errno.EINVAL, [PEER, "persistent_keepalive_interval=off"]),
        (0, [PEER, "endpoint=192.0.2.1:0"]),
        (-errno.EINVAL, [PEER, "endpoint=example.net:51820"]),
        (-errno.EINVAL, [PEER, "endpoint=192.0.2.1"]),
        (-errno.EINVAL, [PEER, "endpoint=192.0.2.1:"]),
        (-errno.EINVAL, [PEER, "endpoint=192.0.2.1:65536"]),
        (-errno.EINVAL, [PEER, "endpoint=[192.0.2.1]:1"]),
        (-errno.EINVAL, [PEER, "endpoint=2001:db8::1:51820"]),
        (-errno.EINVAL, [PEER, "endpoint=[fe80::1%no-such-interface]:1"]),
        (0, [PEER, "endpoint=[fe80::1%4294967295]:1"]),
        (-errno.EINVAL, [PEER, "endpoint=[fe80::1%4294967296]:1"]),
        (-errno.EINVAL, [PEER, "endpoint=192.0.2.1%lo:1"]),
        (-errno.EINVAL, [PEER, "endpoint=[fe80::1%l\0o]:1"]),
        (-errno.EINVAL, [PEER, "endpoint=[]:1"]),
        (-errno.EINVAL, [PEER, "endpoint=192.0.2.1:-1"]),
        (0, [PEER, "allowed_ip=-10.0.0.0/8"]),
        (-errno.EINVAL, [PEER, "allowed_ip=-"]),
        (-errno.EINVAL, [PEER, "allowed_ip=-10.0.0.0"]),
        (-errno.EINVAL, [PEER, "allowed_ip=+10.0.0.0/8"]),
        (-errno.EINVAL, [PEER, "replace_allowed_ips=false"]),
        (-errno.EINVAL, [PEER, "replace_peers=true"]),
        (-errno.EINVAL, [PEER, "fwmark=1"]),
        (-errno.EINVAL, ["fwmark=off"]),
        (-errno.EINVAL, [f"{PEER} "]),
        (-errno.EINVAL, ["=1"]),
        (-errno.EINVAL, ["LISTEN_PORT=1"]),
        (-errno.EINVAL, ["listen_port=1\r"]),
    ],
)
def test_errors_are_those_of_wireguard_go(tunnel: Tunnel, expected: int, lines: list[str]) -> None:
    assert tunnel.set(*lines) == expected


def test_lines_before_a_bad_one_stay_carried_out(tunnel: Tunnel) -> None:
    assert (
        tunnel.set("listen_port=7", PEER, "allowed_ip=10.0.0.1/32", "nonsense=1", "allowed_ip=10.0.0.2/32")
        < 0
    )
    assert tunnel.sockets.port == 7
    assert tunnel.device.allowed_ips.of(tunnel.device.peers[bytes.fromhex(key(1))]) == [
        ip_network("10.0.0.1/32")
    ]


def test_get_of_a_fresh_device_is_empty(tunnel: Tunnel) -> None:
    assert tunnel.get() == []


def test_get_shows_all_in_the_order_of_the_interface(tunnel: Tunnel) -> None:
    assert not tunnel.set(
        f"private_key={KEY.hex()}",
        "listen_port=51820",
        "fwmark=16",
        PEER,
        f"preshared_key={key(9)}",
        "endpoint=[2001:db8::1]:5",
        "persistent_keepalive_interval=25",
        "allowed_ip=10.1.2.3/16",
        "allowed_ip=fd00::1/64",
        f"public_key={key(2)}",
    )
    peer = tunnel.device.peers[bytes.fromhex(key(1))]
    peer.rx_bytes, peer.tx_bytes, peer.latest_handshake = 148, 92, 1_700_000_000_123_456_789
    assert tunnel.device.private_key is not None
    assert tunnel.get() == [
        f"private_key={tunnel.device.private_key.hex()}",
        "listen_port=51820",
        "fwmark=16",
        PEER,
        f"preshared_key={key(9)}",
        "protocol_version=1",
        "endpoint=[2001:db8::1]:5",
        "last_handshake_time_sec=1700000000",
        "last_handshake_time_nsec=123456789",
        "tx_bytes=92",
        "rx_bytes=148",
        "persistent_keepalive_interval=25",
        "allowed_ip=10.1.0.0/16",
        "allowed_ip=fd00::/64",
        f"public_key={key(2)}",
        f"preshared_key={'0' * 64}",
        "protocol_version=1",
        "last_handshake_time_sec=0",
        "last_handshake_time_nsec=0",
        "tx_bytes=0",
        "rx_bytes=0",
        "persistent_keepalive_interval=0",
    ]


def peers(tunnel: Tunnel) -> list[str]:
    return [public_key.hex() for public_key in tunnel.device.peers]


def test_peers_are_made_updated_and_removed(tunnel: Tunnel) -> None:
    assert not tunnel.set(PEER, f"public_key={key(2)}", "update_only=true", "allowed_ip=10.0.0.0/8")
    assert peers(tunnel) == [key(1)]
    assert not tunnel.set(PEER, "update_only=true", "allowed_ip=10.0.0.0/8")
    assert "allowed_ip=10.0.0.0/8" in tunnel.get()
    assert not tunnel.set(f"public_key={key(3)}", PEER, "remove=true", "allowed_ip=10.0.0.0/8")
    assert peers(tunnel) == [key(3)]
    assert "allowed_ip=10.0.0.0/8" not in tunnel.get()
    assert not tunnel.set("replace_peers=true", f"public_key={key(4)}")
    assert peers(tunnel) == [key(4)]


def test_a_removed_peer_may_come_back_in_the_same_request(tunnel: Tunnel) -> None:
    assert not tunnel.set(PEER, "allowed_ip=10.0.0.0/8", PEER, "remove=true", PEER, "allowed_ip=10.0.0.0/9")
    assert [line for line in tunnel.get() if line.startswith("allowed_ip")] == ["allowed_ip=10.0.0.0/9"]


def test_a_slice_never_ends_with_a_peer_that_is_not_to_be(tunnel: Tunnel) -> None:
    """Between slices packets are served: nobody may call who was only to be updated."""
    lines = [line for number in range(200) for line in (f"public_key={key(number)}", "update_only=true")]
    for start in (["fwmark=0"], []):
        for _ in tunnel.uapi.serve("\n".join(["set=1", *start, *lines])):
            assert peers(tunnel) == []
        assert peers(tunnel) == []


def test_a_key_of_no_peer_ends_a_request_of_many_peers_too(tunnel: Tunnel) -> None:
    lines = [f"public_key={key(number)}" for number in range(500)]
    reply = tunnel.uapi.serve("\n".join(["set=1", *lines]))
    assert sum(1 for _ in reply) >= 500 // 64
    assert len(peers(tunnel)) == 500


def test_our_own_key_is_never_a_peer(tunnel: Tunnel) -> None:
    tunnel.set(f"private_key={KEY.hex()}")
    own = tunnel.device.public_key
    assert own is not None
    assert not tunnel.set(f"public_key={own.hex()}", "endpoint=192.0.2.1:1", "allowed_ip=10.0.0.0/8", PEER)
    assert peers(tunnel) == [key(1)]
    assert "allowed_ip=10.0.0.0/8" not in tunnel.get()
    assert tunnel.set(f"public_key={own.hex()}", "endpoint=nonsense") == -errno.EINVAL


def test_the_private_key_can_be_taken_away(tunnel: Tunnel) -> None:
    tunnel.set(f"private_key={KEY.hex()}")
    assert not tunnel.set(f"private_key={'0' * 64}")
    assert tunnel.get() == []


def test_prefixes_are_added_replaced_stolen_and_taken(tunnel: Tunnel) -> None:
    first, second = PEER, f"public_key={key(2)}"

    def owned(public_key: str) -> list[str]:
        peer = tunnel.device.peers[bytes.fromhex(public_key)]
        return [str(network) for network in tunnel.device.allowed_ips.of(peer)]

    assert not tunnel.set(
        first, "allowed_ip=10.0.0.0/8", "allowed_ip=fd00::/8", second, "allowed_ip=10.0.0.0/8"
    )
    assert (owned(key(1)), owned(key(2))) == (["fd00::/8"], ["10.0.0.0/8"])
    assert not tunnel.set(first, "allowed_ip=-10.0.0.0/8", second, "allowed_ip=-10.0.0.0/9")
    assert (owned(key(1)), owned(key(2))) == (["fd00::/8"], ["10.0.0.0/8"])
    assert not tunnel.set(second, "allowed_ip=-10.0.0.0/8", first, "replace_allowed_ips=true")
    assert (owned(key(1)), owned(key(2))) == ([], [])


def test_a_port_in_use_is_answered_and_the_old_one_kept(tunnel: Tunnel) -> None:
    tunnel.sockets.open()
    before = tunnel.sockets.port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        assert tunnel.set(f"listen_port={taken.getsockname()[1]}") == -errno.EADDRINUSE
    assert f"listen_port={before}" in tunnel.get()


@pytest.mark.parametrize("line", ["listen_port=0", "fwmark=7"])
def test_sources_are_forgotten_when_the_sockets_change(tunnel: Tunnel, line: str) -> None:
    assert not tunnel.set("listen_port=51820", PEER)
    peer = tunnel.device.peers[bytes.fromhex(key(1))]
    sticky = Endpoint(b"\xc0\0\2\1", 5, source=b"\x7f\0\0\1", source_interface=1)
    tunnel.device.set_endpoint(peer, sticky, NOW)
    assert not tunnel.set("listen_port=51820", "fwmark=0")
    assert peer.endpoint == sticky
    assert not tunnel.set(line)
    assert peer.endpoint == sticky.without_source()


def test_a_long_request_is_carried_out_in_slices(tunnel: Tunnel) -> None:
    lines = [
        line
        for number in range(1000)
        for line in (f"public_key={key(number)}", f"allowed_ip=10.{number >> 8}.{number & 255}.0/24")
    ]
    reply = tunnel.uapi.serve("\n".join(["set=1", *lines]))
    most = 0
    for _ in reply:
        now = len(tunnel.device.peers)
        assert now - most <= 64
        most = now
    assert len(tunnel.device.peers) == 1000
    assert sum(1 for _ in tunnel.uapi.serve("get=1")) > 100


keys = st.binary(min_size=32, max_size=32).map(bytes.hex)
addresses = st.ip_addresses()
ports = st.integers(0, 0xFFFF)


@st.composite
def endpoints(draw: st.DrawFn) -> str:
    address = draw(addresses)
    return f"{address}:{draw(ports)}" if address.version == 4 else f"[{address}]:{draw(ports)}"


@st.composite
def prefixes(draw: st.DrawFn) -> str:
    address = draw(addresses)
    return f"{address}/{draw(st.integers(0, address.max_prefixlen))}"


@st.composite
def requests(draw: st.DrawFn) -> list[str]:
    lines = [
        f"private_key={draw(keys)}",
        f"listen_port={draw(ports)}",
        f"fwmark={draw(st.integers(0, 0xFFFFFFFF))}",
    ]
    for public_key in draw(st.lists(keys, max_size=4)):
        lines += [f"public_key={public_key}", f"preshared_key={draw(keys)}"]
        lines += [f"endpoint={endpoint}" for endpoint in draw(st.lists(endpoints(), max_size=1))]
        lines += [f"persistent_keepalive_interval={draw(ports)}"]
        lines += [f"allowed_ip={prefix}" for prefix in draw(st.lists(prefixes(), max_size=4))]
    return lines


@given(requests())
def test_what_get_shows_sets_another_device_to_the_same(lines: list[str]) -> None:
    first, second = make_tunnel(), make_tunnel()
    assert first.set(*lines) == 0
    shown = first.get()
    volatile = ("last_handshake", "tx_bytes", "rx_bytes")
    assert second.set(*(line for line in shown if not line.startswith(volatile))) == 0
    assert second.get() == shown


@given(st.lists(st.one_of(st.text(max_size=40), requests().map("\n".join)), max_size=6))
def test_nonsense_is_answered_with_an_errno(pieces: list[str]) -> None:
    text = "\n".join(line for line in "\n".join(pieces).split("\n") if line)
    assert make_tunnel().set(text) <= 0


@given(endpoints())
def test_endpoints_are_printed_as_they_are_read(text: str) -> None:
    endpoint = parse_endpoint(text)
    assert parse_endpoint(print_endpoint(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("text", "ip", "scope"),
    [
        ("[fe80::1%lo]:5", "fe80::1", socket.if_nametoindex("lo")),
        ("[fe80::1%4294967295]:5", "fe80::1", 4294967295),
        ("[::ffff:192.0.2.1]:5", "192.0.2.1", 0),
    ],
)
def test_endpoints_with_a_scope_or_in_disguise(text: str, ip: str, scope: int) -> None:
    endpoint = parse_endpoint(text)
    assert endpoint == Endpoint(ip_address(ip).packed, 5, scope)
    assert print_endpoint(endpoint) == (text if scope else f"{ip}:5")
