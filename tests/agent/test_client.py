"""The small client: one question, one line, one exit code."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent import client


@contextmanager
def agent(path: Path, answer: bytes, delay: float = 0) -> Iterator[list[bytes]]:
    """A stand-in for the agent that answers one client; yields what it was asked."""
    asked: list[bytes] = []

    def serve() -> None:
        time.sleep(delay)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen(1)
            listener.settimeout(10)
            sock, _ = listener.accept()
            with sock:
                data = b""
                while piece := sock.recv(65536):
                    data += piece
                asked.append(data)
                sock.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    end = time.monotonic() + 10
    while not delay and not path.exists() and time.monotonic() < end:
        time.sleep(0.005)
    time.sleep(0 if delay else 0.02)
    try:
        yield asked
    finally:
        thread.join(10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.sock"


def give(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


@pytest.mark.parametrize("probe", [False, True])
def test_a_report(path: Path, probe: bool, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with agent(path, b'{"ok":true,"report":{}}\n') as asked:
        assert client.report(probe, path=str(path)) == 0
    assert json.loads(asked[0]) == {"op": "report", "probe": probe, "fleets": []}
    assert capfdbinary.readouterr().out == b'{"ok":true,"report":{}}\n'


def test_a_failure_is_printed_and_is_exit_code_1(
    path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with agent(path, b'{"ok":false,"error":"why"}\n'):
        assert client.secrets(path=str(path)) == 1
    assert capfdbinary.readouterr().out == b'{"ok":false,"error":"why"}\n'


def test_apply_hands_over_what_stdin_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, '{"bundle": {"a": 1}, "secrets": []}')
    with agent(path, b'{"ok":true}\n') as asked:
        assert client.apply(True, str(path)) == 0
    assert json.loads(asked[0]) == {"op": "apply", "bundle": {"a": 1}, "secrets": [], "replace_fleet": True}


def test_apply_waits_for_an_agent_that_was_just_started(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, '{"bundle": {}, "secrets": []}')
    with agent(path, b'{"ok":true}\n', delay=0.3):
        assert client.apply(False, str(path)) == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"bundle": {}}', '{"bundle": 1, "secrets": 2, "op": 3}']
)
def test_apply_says_what_it_expects(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, text)
    assert client.apply(False, "/nonexistent") == 1
    assert "on stdin" in capsys.readouterr().err


@pytest.mark.parametrize("stale", [False, True])
def test_no_agent_is_one_sentence(path: Path, stale: bool, capsys: pytest.CaptureFixture[str]) -> None:
    if stale:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    assert client.report(False, path=str(path)) == 1
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.count("\n") == 1
    assert f"no agent answers at {path}" in found.err


def test_an_agent_that_ends_meanwhile_is_one_sentence(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with agent(path, b'{"ok":tr'):
        assert client.report(False, path=str(path)) == 1
    found = capsys.readouterr()
    assert found.out == ""
    assert "ask again" in found.err


def test_an_agent_that_hangs_is_one_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "REPORT_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        assert client.report(False, path=str(path)) == 1
    assert "did not answer within 0.1 s" in capsys.readouterr().err


def test_it_starts_with_little() -> None:
    """Each of these imports costs more than everything that the client does."""
    code = "import sys, agent.cli, agent.client; print(*sorted(sys.modules))"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split())
    assert "agent.client" in loaded
    heavy: set[str] = {
        "asyncio",
        "argparse",
        "dataclasses",
        "ipaddress",
        "logging",
        "pathlib",
        "pyroute2",
        "typing",
    }
    plain = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True
    )
    assert loaded & heavy - set(plain.stdout.split()) == set()
