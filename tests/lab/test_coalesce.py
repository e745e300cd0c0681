"""What a kernel makes of merged packets that are written to its TUN."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.tunnel.coalesce import coalesce
from tests.agent.tunnel.segments import ACK, FIN, PSH, SYN, Segment
from tests.lab.inside import inside
from tests.lab.namespaces import Namespace, wired_pair

pytestmark = pytest.mark.lab

INTERFACE = "merged0"
V4 = Segment(source="10.77.0.2", destination="10.77.0.1", options=b"")
V6 = Segment(source="fd77::2", destination="fd77::1", options=b"")
both = pytest.mark.parametrize("base", [V4, V6], ids=["v4", "v6"])

_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR, _TUNSETIFF = 0x0001, 0x1000, 0x4000, 0x400454CA
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17  # include/uapi/linux/sockios.h, ethtool.h
_ETH_P_ALL = 3


@dataclass
class Host:
    """A namespace with a TUN, on a wire to another."""

    space: Namespace
    other: Namespace
    tun: int

    def write(self, packets: Sequence[bytes], is_verified: bool) -> int:
        """Writes packets merged; how many writes that took."""
        writes = coalesce(packets, lambda address: is_verified)
        for buffers in writes:
            assert os.writev(self.tun, buffers) == sum(map(len, buffers))
        return len(writes)

    def answer(self, flags: int) -> bytes:
        """The next TCP header with these flags that the kernel sends into the TUN."""
        end = time.monotonic() + 5
        while time.monotonic() < end:
            select.select([self.tun], [], [], 1)
            with suppress(BlockingIOError):
                packet = os.read(self.tun, 65535)[10:]
                at = 20 if packet[0] >> 4 == 4 else 40
                if packet[9 if at == 20 else 6] == 6 and packet[at + 13] == flags:
                    return packet[at:]
        raise AssertionError(f"no TCP packet with flags {flags:#x}")

    def wrong_checksums(self) -> int:
        """How many TCP packets the kernel has dropped for their checksums."""
        with inside(self.space):
            lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
        names, values = (line.split() for line in lines if line.startswith("Tcp:"))
        return int(values[names.index("InCsumErrors")])


@pytest.fixture
def host() -> Iterator[Host]:
    with wired_pair("merge") as (first, second):
        with inside(first):
            tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        try:
            flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
            fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", INTERFACE.encode(), flags))
            first.run("ip", "link", "set", INTERFACE, "up")
            first.run("ip", "address", "add", "10.77.0.1/24", "dev", INTERFACE)
            first.run("ip", "address", "add", "fd77::1/64", "dev", INTERFACE, "nodad")
            yield Host(first, second, tun)
        finally:
            os.close(tun)


def train(first: Segment, count: int, size: int, last: int, flags: int = 0) -> list[Segment]:
    """Segments in sequence, the last of `last` bytes and with `flags`."""
    segments = [
        replace(
            first,
            sequence=first.sequence + number * size,
            identification=number,
            payload=os.urandom(size),
        )
        for number in range(count)
    ]
    segments[-1] = replace(segments[-1], payload=os.urandom(last), flags=ACK | flags)
    return segments


def connected(host: Host, base: Segment, where: Namespace) -> tuple[socket.socket, Segment]:
    """A socket in a namespace whose other end is us, and a segment that could be our next."""
    family = socket.AF_INET if base is V4 else socket.AF_INET6
    with inside(where):
        listener = socket.socket(family, socket.SOCK_STREAM)
    with listener:
        listener.bind(("" if base is V4 else "::", 0))
        listener.listen()
        ours = replace(base, ports=(40000, listener.getsockname()[1]), window=60000)
        host.write([replace(ours, flags=SYN, ack=0).packed()], is_verified=True)
        sequence = int.from_bytes(host.answer(SYN | ACK)[4:8], "big")
        ours = replace(ours, sequence=ours.sequence + 1, ack=(sequence + 1) % (1 << 32))
        host.write([ours.packed()], is_verified=True)
        listener.settimeout(5)
        connection, _ = listener.accept()
    connection.settimeout(5)
    return connection, ours


def received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data)) or pytest.fail(f"closed after {len(data)} bytes")
    return data


@both
@pytest.mark.parametrize("is_verified", [True, False], ids=["delivered", "computed"])
@pytest.mark.parametrize("size", [1380, 1379, 101])
def test_merged_segments_arrive_at_a_socket(host: Host, base: Segment, size: int, is_verified: bool) -> None:
    connection, ours = connected(host, base, host.space)
    with connection:
        segments = train(ours, 20, size, size // 2, PSH | FIN)
        assert host.write([segment.packed() for segment in segments], is_verified) == 1
        data = b"".join(segment.payload for segment in segments)
        assert received(connection, len(data)) == data
        assert connection.recv(1) == b""
        assert host.wrong_checksums() == 0


@both
def test_what_a_wrong_segment_spoils_arrives_once_it_is_repeated(host: Host, base: Segment) -> None:
    connection, ours = connected(host, base, host.space)
    with connection:
        segments = train(ours, 20, 1379, 700, PSH)
        wrong = [*segments[:7], replace(segments[7], checksum_error=1), *segments[8:]]
        assert host.write([segment.packed() for segment in wrong], is_verified=True) == 1
        assert host.wrong_checksums() == 1
        assert not select.select([connection], [], [], 0.2)[0]
        assert host.write([segment.packed() for segment in segments], is_verified=True) == 1
        data = b"".join(segment.payload for segment in segments)
        assert received(connection, len(data)) == data


@pytest.fixture
def router(host: Host) -> Host:
    """Passes packets on to the other namespace, by a wire that itself neither cuts nor computes checksums."""
    for file in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        host.space.run("sh", "-c", f"echo 1 > /proc/sys/net/{file}")
    value = ctypes.create_string_buffer(struct.pack("II", _ETHTOOL_STXCSUM, 0))
    with inside(host.space), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sP16x", host.space.wire.encode(), ctypes.addressof(value))
        fcntl.ioctl(sock, _SIOCETHTOOL, request)
    host.space.run("ping", "-c1", host.other.v4)
    host.space.run("ping", "-c1", host.other.v6)
    return host


@both
@pytest.mark.parametrize("size", [1380, 1379, 101])
@pytest.mark.parametrize("wrong", [None, 7])
def test_merged_segments_are_passed_on_as_they_came(
    router: Host, base: Segment, size: int, wrong: int | None
) -> None:
    destination = router.other.v4 if base is V4 else router.other.v6
    options = bytes.fromhex("0101080a0000007b000001c8")
    segments = train(replace(base, destination=destination, options=options), 20, size, size // 2, PSH | FIN)
    if wrong is not None:
        segments[wrong] = replace(segments[wrong], checksum_error=1)
    with inside(router.other):
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
    with sniffer:
        sniffer.bind((router.other.wire, _ETH_P_ALL))
        writes = router.write([segment.packed() for segment in segments], is_verified=False)
        assert writes == (1 if wrong is None else 3)
        expected = [replace(segment, hop_limit=63).packed() for segment in segments]
        assert passed_on(sniffer, expected[0], len(expected)) == expected


def passed_on(sniffer: socket.socket, like: bytes, count: int) -> list[bytes]:
    """The next packets with these addresses."""
    addresses = slice(12, 20) if like[0] >> 4 == 4 else slice(8, 40)
    sniffer.settimeout(5)
    packets: list[bytes] = []
    while len(packets) < count:
        packet = sniffer.recv(65535)
        if packet[0] == like[0] and packet[addresses] == like[addresses]:
            packets.append(packet)
    return packets


@pytest.mark.parametrize("wrong", [None, 7])
def test_destination_nat_verifies_what_it_passes_on(router: Host, wrong: int | None) -> None:
    """So that a merged packet to an address of this host needs no verifying even where NAT changes that."""
    rule = f"ip daddr {V4.destination} dnat to {router.other.v4}"
    chain = f"chain before {{ type nat hook prerouting priority dstnat; {rule}\n}}"
    router.space.run("nft", "-f", "-", stdin=f"table ip published {{ {chain}\n}}")
    router.other.run("ip", "route", "add", "10.77.0.0/24", "via", router.space.v4)
    connection, ours = connected(router, V4, router.other)
    with connection:
        segments = train(ours, 20, 1379, 700, PSH)
        sent = list(segments)
        if wrong is not None:
            sent[wrong] = replace(sent[wrong], checksum_error=1)
        assert router.write([segment.packed() for segment in sent], is_verified=True) == 1
        if wrong is not None:
            assert not select.select([connection], [], [], 0.2)[0]
            assert router.wrong_checksums() == 1
            router.write([segment.packed() for segment in segments], is_verified=True)
        data = b"".join(segment.payload for segment in segments)
        assert received(connection, len(data)) == data
