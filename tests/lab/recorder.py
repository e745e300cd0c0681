"""A control socket that gives the answer it was told to give and keeps what it is asked.

Job: stand where a userspace device's process would, so that `wg` and `fleet-agent` can be shown the same
device and be heard asking for the same change. Called by the lab tests of the wg commands.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FINE = "errno=0\n\n"


class Recorder:
    """Answers `get` with `answer` and `set` with success; `asked` are the requests, oldest first."""

    def __init__(self, path: Path) -> None:
        self.answer = FINE
        self.asked: list[str] = []
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._listener.bind(str(path))
        self._listener.listen(16)

    def serve(self) -> None:
        """Until `close`."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                request = _receive(connection)
                if request:
                    self.asked.append(request)
                    reply = self.answer if request.startswith("get=1\n") else FINE
                    with suppress(BrokenPipeError):
                        connection.sendall(reply.encode())

    def taken(self) -> list[str]:
        """What was asked since the last call."""
        asked, self.asked = self.asked, []
        return asked

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def recorder(path: Path) -> Iterator[Recorder]:
    """One that listens at `path` and answers from a thread of its own."""
    made = Recorder(path)
    thread = threading.Thread(target=made.serve, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join(10)


def _receive(connection: socket.socket) -> str:
    """A request up to its empty line; nothing where the client only looked whether somebody is there."""
    data = b""
    while not data.endswith(b"\n\n"):
        piece = connection.recv(1 << 20)
        if not piece:
            break
        data += piece
    return data.decode()
