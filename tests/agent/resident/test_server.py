"""The socket: many clients, none of them in the way of another, nonsense answered."""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.resident import server as module
from agent.resident.server import MOST_CLIENTS, SECONDS, Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    served = Server(tmp_path / "run" / "agent.sock")
    yield served
    served.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "agent.sock"


def connect(file: Path, data: bytes = b"", end: bool = True) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(5)
    sock.connect(str(file))
    if data:
        sock.sendall(data)
    if end:
        sock.shutdown(socket.SHUT_WR)
    return sock


def serve(server: Server, now: float = 0, rounds: int = 8) -> list[dict[str, Any]]:
    """Echoes whatever requests have come."""
    seen = []
    for _ in range(rounds):
        for client, request in server.requests(now):
            seen.append(request)
            server.answer(client, {"ok": True, "echo": request}, now)
    return seen


def read(sock: socket.socket) -> Any:
    data = b""
    with sock, suppress(ConnectionResetError):  # it did not want all that we sent
        while piece := sock.recv(65536):
            data += piece
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    return json.loads(data)


def test_root_alone_gets_in(server: Server, file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_socket_is_private_from_its_creation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    listen = socket.socket.listen

    def look(self: socket.socket, *args: int) -> None:
        modes.append(stat.S_IMODE(Path(self.getsockname()).stat().st_mode))
        listen(self, *args)

    monkeypatch.setattr(socket.socket, "listen", look)
    before = os.umask(0)
    try:
        Server(tmp_path / "run" / "agent.sock").close()
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_others_are_turned_away(server: Server, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket.getsockopt

    def nobody(self: socket.socket, level: int, name: int, *rest: int) -> Any:
        if name == socket.SO_PEERCRED:
            return struct.pack("3i", 1, 65534, 65534)
        return real(self, level, name, *rest)

    monkeypatch.setattr(socket.socket, "getsockopt", nobody)
    sock = connect(file, b'{"op":"secrets"}')
    assert serve(server) == []
    with sock, suppress(ConnectionResetError):
        assert sock.recv(100) == b""


def test_a_request_and_its_answer(server: Server, file: Path) -> None:
    sock = connect(file, b'{"op": "report"}')
    assert serve(server) == [{"op": "report"}]
    assert read(sock) == {"ok": True, "echo": {"op": "report"}}


def test_a_request_in_pieces(server: Server, file: Path) -> None:
    sock = connect(file, end=False)
    for byte in b'{"op": "report"}':
        sock.sendall(bytes([byte]))
        assert serve(server, rounds=2) == []
    sock.shutdown(socket.SHUT_WR)
    assert serve(server) == [{"op": "report"}]
    assert read(sock)["ok"]


def test_a_stale_socket_is_replaced(tmp_path: Path, file: Path) -> None:
    stale = Server(file)
    stale._listener.close()  # killed: the file stays
    again = Server(file)
    sock = connect(file, b"{}")
    assert serve(again) == [{}]
    assert read(sock)["ok"]
    again.close()
    assert not file.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "not an object"),
        (b"7", "not an object"),
        (b'{"op": NaN}', "not JSON"),
        (b'{"op": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b'{"op":"report"}{"op":"report"}', "not JSON"),
    ],
)
def test_nonsense_is_answered(server: Server, file: Path, data: bytes, words: str) -> None:
    sock = connect(file, data)
    assert serve(server) == []
    answer = read(sock)
    assert answer["ok"] is False
    assert words in answer["error"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=50).map(str.encode)))
def test_whatever_is_sent_gets_one_answer(server: Server, file: Path, data: bytes) -> None:
    sock = connect(file, data)
    seen = serve(server, rounds=4)
    answer = read(sock)
    assert answer["ok"] is bool(seen)
    assert server._clients == set()


def test_too_long_a_request_is_refused(server: Server, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1 << 20)
    sock = connect(file, end=False)
    sock.setblocking(False)
    with suppress(BrokenPipeError):
        for _ in range(200):
            with suppress(BlockingIOError):
                sock.send(b" " * 65536)
            serve(server, rounds=1)
    sock.settimeout(5)
    assert read(sock) == {"ok": False, "error": "a request of more than 1 MiB"}
    assert serve(server) == []


def test_stalled_clients_hold_up_nobody(server: Server, file: Path) -> None:
    with ExitStack() as stack:
        for number in range(MOST_CLIENTS * 3):
            stack.enter_context(connect(file, b'{"op"', end=False))
            serve(server, now=number / 1000, rounds=1)
        sock = connect(file, b'{"op": "report"}')
        assert serve(server, now=1) == [{"op": "report"}]
        assert read(sock)["ok"]
        assert len(server._clients) <= MOST_CLIENTS


def test_a_client_that_does_not_read_holds_up_nobody(server: Server, file: Path) -> None:
    big = {"text": "x" * (4 << 20)}
    lazy = connect(file, end=False)
    lazy.setblocking(False)
    data = json.dumps(big).encode()
    while data:
        try:
            data = data[lazy.send(data) :]
        except BlockingIOError:
            serve(server, rounds=1)
    lazy.shutdown(socket.SHUT_WR)
    assert serve(server, rounds=200) == [big]
    sock = connect(file, b'{"op": "report"}')
    assert serve(server) == [{"op": "report"}]
    assert read(sock)["ok"]
    assert serve(server, now=SECONDS + 1) == []
    assert server._clients == set()
    lazy.close()


def test_who_is_silent_for_too_long_is_dropped(server: Server, file: Path) -> None:
    with connect(file, b"{", end=False) as sock:
        serve(server, now=0)
        assert server.deadline == SECONDS
        serve(server, now=SECONDS)
        assert server.deadline is None
        assert sock.recv(10) == b""


def test_who_waits_for_an_answer_is_not_dropped(server: Server, file: Path) -> None:
    sock = connect(file, b"{}")
    (client, request), *_ = [found for _ in range(4) for found in server.requests(0)]
    assert request == {}
    assert server.deadline is None
    assert serve(server, now=10 * SECONDS) == []
    server.answer(client, {"ok": True}, 10 * SECONDS)
    assert read(sock) == {"ok": True}


def test_an_answer_for_who_is_gone_does_no_harm(server: Server, file: Path) -> None:
    sock = connect(file, b"{}")
    (client, _), *_ = [found for _ in range(4) for found in server.requests(0)]
    sock.close()
    server.answer(client, {"ok": True, "text": "x" * 1_000_000}, 0)
    server.answer(client, {"ok": True}, 0)
    assert server._clients == set()
