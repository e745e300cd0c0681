"""Devices in user space: requests and answers of the control socket, and sockets that misbehave."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.host.device import DeviceEdit, DeviceState, PeerEdit, PeerState, SocketAddress
from agent.host.userspace import UserspaceDevice, request, state

KEY, OTHER, PSK = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32


@contextmanager
def served(folder: Path, *pieces: bytes, hang: bool = False) -> Iterator[list[bytes]]:
    """A control socket whose process answers one request with `pieces`; yields what it was asked."""
    asked: list[bytes] = []
    ended = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            data = b""
            while not data.endswith(b"\n\n"):
                data += connection.recv(65536)
            asked.append(data)
            for piece in pieces:
                connection.sendall(piece)
            if hang:
                ended.wait(10)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "wg0.sock"))
        listener.listen(1)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            ended.set()
            thread.join(10)
    assert not thread.is_alive()


def test_a_change_as_a_request() -> None:
    edit = DeviceEdit(
        private_key=KEY,
        listen_port=51820,
        fwmark=0,
        peers=(
            PeerEdit(
                OTHER,
                new=True,
                preshared_key=PSK,
                endpoint=SocketAddress("2001:db8::1", 5),
                persistent_keepalive=25,
                allowed_ips=("10.0.0.0/8", "::/0"),
            ),
            PeerEdit(KEY, endpoint=SocketAddress("192.0.2.1", 5)),
            PeerEdit(PSK, remove=True),
        ),
    )
    assert request(edit).split("\n") == [
        "set=1",
        "private_key=" + "01" * 32,
        "listen_port=51820",
        "fwmark=0",
        "public_key=" + "02" * 32,
        "preshared_key=" + "03" * 32,
        "endpoint=[2001:db8::1]:5",
        "persistent_keepalive_interval=25",
        "allowed_ip=10.0.0.0/8",
        "allowed_ip=::/0",
        "public_key=" + "01" * 32,
        "update_only=true",
        "endpoint=192.0.2.1:5",
        "public_key=" + "03" * 32,
        "remove=true",
        "",
        "",
    ]


def test_what_was_there_is_replaced() -> None:
    peer = PeerEdit(OTHER, new=True, allowed_ips=("10.0.0.0/8",), replace_allowed_ips=True)
    edit = DeviceEdit(listen_port=0, fwmark=0, peers=(peer,), replace_peers=True)
    assert request(edit).split("\n") == [
        "set=1",
        "listen_port=0",
        "fwmark=0",
        "replace_peers=true",
        "public_key=" + "02" * 32,
        "replace_allowed_ips=true",
        "allowed_ip=10.0.0.0/8",
        "",
        "",
    ]


@pytest.mark.parametrize(("name", "index"), [("lo", socket.if_nametoindex("lo")), ("999999", 999999)])
def test_an_endpoint_on_one_link_names_it(name: str, index: int) -> None:
    edit = DeviceEdit(peers=(PeerEdit(OTHER, endpoint=SocketAddress("fe80::1", 5, index)),))
    assert f"endpoint=[fe80::1%{name}]:5" in request(edit)


ANSWER = f"""\
private_key={"01" * 32}
listen_port=51820
fwmark=7
public_key={"02" * 32}
preshared_key={"00" * 32}
protocol_version=1
endpoint=[2001:db8::1]:5
last_handshake_time_sec=1700000000
last_handshake_time_nsec=500000000
tx_bytes=9
rx_bytes=8
persistent_keepalive_interval=25
a_key_of_the_future=1
allowed_ip=10.0.0.0/8
allowed_ip=::/0
public_key={"04" * 32}
preshared_key={"03" * 32}
last_handshake_time_sec=0
last_handshake_time_nsec=0
errno=0

""".encode()


def test_an_answer_is_read_however_it_arrives(tmp_path: Path) -> None:
    with served(tmp_path, *(ANSWER[n : n + 100] for n in range(0, len(ANSWER), 100))) as asked:
        found = UserspaceDevice(tmp_path).read("wg0")
    assert asked == [b"get=1\n\n"]
    assert found.private_key == KEY
    assert found.public_key is not None
    assert (found.listen_port, found.fwmark) == (51820, 7)
    assert found.peers == (
        PeerState(
            OTHER,
            endpoint="[2001:db8::1]:5",
            allowed_ips=("10.0.0.0/8", "::/0"),
            persistent_keepalive=25,
            latest_handshake_ns=1_700_000_000_500_000_000,
            rx_bytes=8,
            tx_bytes=9,
        ),
        PeerState(bytes([4]) * 32, preshared_key=PSK),
    )


def test_a_device_without_anything(tmp_path: Path) -> None:
    with served(tmp_path, b"errno=0\n\n"):
        assert UserspaceDevice(tmp_path).read("wg0") == DeviceState()


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        (b"errno=-98\n\n", errno.EADDRINUSE),
        (b"errno=98\n\n", errno.EADDRINUSE),
        (b"\n\n", errno.EPROTO),
        (b"errno=none\n\n", errno.EPROTO),
        (b"listen_port=one\nerrno=0\n\n", errno.EPROTO),
        (b"private_key=xx\nerrno=0\n\n", errno.EPROTO),
        (b"private_key=0102\nerrno=0\n\n", errno.EPROTO),
        (b"public_key=\nerrno=0\n\n", errno.EPROTO),
        (b"public_key=0102\nerrno=0\n\n", errno.EPROTO),
        (b"listen_port=-1\nerrno=0\n\n", errno.EPROTO),
        (b"listen_port=1_0\nerrno=0\n\n", errno.EPROTO),
        (b"fwmark=" + b"9" * 21 + b"\nerrno=0\n\n", errno.EPROTO),
        (b"errno=0\n", errno.ECONNRESET),
        (b"", errno.ECONNRESET),
    ],
)
def test_an_answer_that_is_none_is_an_error(tmp_path: Path, answer: bytes, number: int) -> None:
    with served(tmp_path, answer), pytest.raises(OSError) as caught:  # noqa: PT011
        UserspaceDevice(tmp_path).read("wg0")
    assert caught.value.errno == number


def test_a_process_that_hangs_is_waited_for_so_long(tmp_path: Path) -> None:
    with served(tmp_path, hang=True), pytest.raises(OSError) as caught:  # noqa: PT011
        UserspaceDevice(tmp_path, patience=0.05).write("wg0", DeviceEdit(fwmark=1))
    assert caught.value.errno == errno.ETIMEDOUT


def test_a_refused_change_is_an_error(tmp_path: Path) -> None:
    with served(tmp_path, b"errno=-22\n\n") as asked, pytest.raises(OSError) as caught:  # noqa: PT011
        UserspaceDevice(tmp_path).write("wg0", DeviceEdit(fwmark=1))
    assert caught.value.errno == errno.EINVAL
    assert asked == [b"set=1\nfwmark=1\n\n"]


def test_a_socket_without_a_process_is_stale(tmp_path: Path) -> None:
    device = UserspaceDevice(tmp_path)
    path = tmp_path / "wg0.sock"
    assert not device.is_alive("wg0")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)
    assert device.is_alive("wg0")
    device.remove_stale("wg0")
    assert path.exists()
    listener.close()
    assert not device.is_alive("wg0")
    device.remove_stale("wg0")
    assert not path.exists()


def test_a_full_queue_means_that_somebody_listens(tmp_path: Path) -> None:
    device = UserspaceDevice(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "wg0.sock"))
        listener.listen(0)
        waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) for _ in range(3)]
        full = False
        for sock in waiting:
            full = full or bool(sock.connect_ex(str(tmp_path / "wg0.sock")))
        assert full
        assert device.is_alive("wg0")
        for sock in waiting:
            sock.close()


prefixes = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda pair: (
        f"{socket.inet_ntoa((pair[0] >> (32 - pair[1]) << (32 - pair[1])).to_bytes(4, 'big'))}/{pair[1]}"
    )
)


@given(
    st.lists(prefixes, unique=True), st.integers(0, 65535), st.none() | st.binary(min_size=32, max_size=32)
)
def test_what_is_set_can_be_read(allowed: list[str], keepalive: int, psk: Optional[bytes]) -> None:
    """A request's peer lines, but for the two that only requests have, are an answer's."""
    peer = PeerEdit(
        OTHER, new=True, preshared_key=psk, persistent_keepalive=keepalive, allowed_ips=tuple(allowed)
    )
    lines = request(DeviceEdit(listen_port=5, peers=(peer,))).split("\n")[1:-2]
    found = state((key, value) for key, _, value in (line.partition("=") for line in lines))
    kept = None if psk == bytes(32) else psk
    seen = PeerState(OTHER, preshared_key=kept, allowed_ips=tuple(allowed), persistent_keepalive=keepalive)
    assert found == DeviceState(listen_port=5, peers=(seen,))
