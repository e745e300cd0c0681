"""What a client of the agent sends: one line of JSON comes back, and no bundle is taken that is not whole."""

from __future__ import annotations

import atexit
import json
import shutil
import socket
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from agent import bundle as bundles
from agent.resident.admission import RefusedError, admit, read
from agent.resident.server import SECONDS, Server
from agent.secret import Secret, SecretRef, Secrets
from tests.agent.samples import bundle
from tests.fuzz.reader import Reader, check_sentence

TOKENS = (
    b'"op":"apply"',
    b'"bundle":',
    b'"secrets":[',
    b'"replace_fleet":true',
    b'"interfaces":',
    b'"peers":[',
    b'"allowed_ips":["10.0.0.0/8"]',
    b'"preshared_key":null',
    b'"endpoint":"a:1"',
    b"1e999",
    b"-1",
    b"\\ud800",
    b"null",
    b"[[",
)
_FOLDER = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
_HELD = bundle(revision=3)
_KEY = Secret(b"\x5a" * 32)
_HELD_SECRETS = Secrets((ref, _KEY) for ref in _HELD.secret_refs())


def check(data: bytes) -> None:
    """How many bytes a piece has, then the request itself, sent in such pieces."""
    reader = Reader(data)
    size = reader.number(2) + 16
    server = Server(_FOLDER / "agent.sock")
    with closing(server), closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as client:
        client.connect(str(_FOLDER / "agent.sock"))
        client.settimeout(5)
        for at in range(2, len(data), size):
            client.sendall(data[at : at + size])
            assert _serve(server) == []
        client.shutdown(socket.SHUT_WR)
        requests = _serve(server)
        answer = b""
        while piece := client.recv(1 << 16):
            answer += piece
        assert answer.endswith(b"\n")
        assert answer.count(b"\n") == 1
        assert json.loads(answer)["ok"] == bool(requests)
        assert server.deadline is None
    for request in requests:
        _admit(request)


def _serve(server: Server) -> list[dict[str, Any]]:
    """Takes what is there, and then plays the time out for a client that is not answered by then."""
    found = []
    for _ in range(4):
        for client, request in server.requests(0):
            found.append(request)
            server.answer(client, {"ok": True, "echo": request}, 0)
    server.requests(SECONDS - 1)
    return found


def _admit(request: dict[str, Any]) -> None:
    """What is taken is complete, and says the same after a journey as JSON."""
    for held, held_secrets in ((None, Secrets()), (_HELD, _HELD_SECRETS)):
        try:
            wanted, given = read(request.get("bundle"), request.get("secrets"))
            kept = admit(wanted, given, held, held_secrets, request.get("replace_fleet") is True)
        except RefusedError as error:
            check_sentence(error)
            continue
        assert set(kept) == wanted.secret_refs()
        assert all(isinstance(ref, SecretRef) for ref in kept)
        if held is not None and request.get("replace_fleet") is not True:
            assert (wanted.fleet, wanted.host) == (held.fleet, held.host)
            assert wanted.revision >= held.revision
        text = json.dumps(bundles.to_json(wanted))
        assert bundles.from_json(json.loads(text)) == wanted
        text.encode()
        assert Secrets.from_json(json.loads(json.dumps(kept.to_json()))) == kept
