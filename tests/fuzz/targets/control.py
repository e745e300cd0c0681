"""What clients of the control socket send, in pieces: the requests that a slow reading finds, no others."""

from __future__ import annotations

import atexit
import select
import shutil
import socket
import tempfile
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from agent.tunnel.control import ControlSocket
from agent.tunnel.uapi import OPERATIONS, Reply
from tests.fuzz.reader import Reader

TOKENS = (b"get=1\n\n", b"set=1\n", b"\n\n", b"\n", b"get=2\n\n", b"private_key=")
_FOLDER = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
_MOST_PIECES = 12
_CLIENTS = 3


class _Echo:
    def serve(self, request: str) -> Reply:
        assert "\n\n" not in request
        assert request.split("\n")[0] in OPERATIONS
        for _ in request.split("\n")[:4]:
            yield
        return f"<{request.encode('latin-1').hex()}>\n\n"


def check(data: bytes) -> None:
    """Pieces of several clients; another one, who behaves, is answered all the while."""
    reader = Reader(data)
    sent = [b""] * _CLIENTS
    with ExitStack() as stack:
        control = ControlSocket("wg0", _Echo().serve, _FOLDER)
        stack.callback(control.close)
        clients = [stack.enter_context(_connect(control)) for _ in range(_CLIENTS)]
        polite = stack.enter_context(_connect(control))
        for _ in range(_MOST_PIECES):
            if not reader:
                break
            number = reader.number() % _CLIENTS
            piece = reader.piece()
            sent[number] += piece
            with suppress(BrokenPipeError, ConnectionResetError):
                clients[number].sendall(piece)
            _work(control)
            polite.sendall(b"get=1\n\n")
            _work(control)
            assert polite.recv(100) == _answer(b"get=1")
        for client, stream in zip(clients, sent):
            with suppress(OSError):
                client.shutdown(socket.SHUT_WR)
            _work(control)
            answers, is_refused = _expected(stream)
            got = _read(client)
            assert answers.startswith(got) if is_refused else answers == got
    assert not list(_FOLDER.iterdir())


def _connect(control: ControlSocket) -> closing[socket.socket]:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(control.path))
    client.settimeout(5)
    return closing(client)


def _work(control: ControlSocket) -> None:
    """Does all that can be done now."""
    busy = True
    while busy or select.select([control], [], [], 0)[0]:
        control.handle()
        busy = control.step()


def _read(client: socket.socket) -> bytes:
    """All answers; a connection that was reset may have lost some."""
    got = b""
    with suppress(ConnectionResetError):
        while piece := client.recv(1 << 16):
            got += piece
    return got


def _expected(stream: bytes) -> tuple[bytes, bool]:
    """The answers to what one client sent, and whether it was parted from for nonsense."""
    answers = b""
    while stream:
        request, end, stream_after = stream.partition(b"\n\n")
        first = (request + end).split(b"\n")[0]
        has_line = b"\n" in (request + end)[:16]
        if (has_line and first.decode("latin-1") not in OPERATIONS) or (not has_line and len(stream) >= 16):
            return answers, True
        if not end:
            return answers, False
        answers += _answer(request)
        stream = stream_after
    return answers, False


def _answer(request: bytes) -> bytes:
    return f"<{request.hex()}>\n\n".encode()
