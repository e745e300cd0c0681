"""Runs on a host, as root: the agent that is installed now runs, and runs again after a reboot.

Job: whatever starts things on this host (systemd, OpenRC, rc.local, cron) starts the agent; one that
runs already is replaced; waits until it answers. What it changes of others it writes down first, for
removal. Prints notes for the operator, one a line; ends with exit code 1 and a sentence on stderr where the
agent does not come up. Part of a release, so it imports the standard library and the agent's places only,
Python 3.9. Argument: systemd, openrc, rc.local, cron or none.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the release; python -I leaves it out

from agent.places import (
    BEFORE,
    CRON_D,
    LOCAL_D,
    PROGRAM,
    RC_LOCAL,
    RUN,
    SOCKET,
    SUPERVISE,
    TUNNEL_UNIT,
    UNIT,
    UNIT_FOLDER,
)

SECONDS = 30.0
OPENRC = f"#!/bin/sh\n{SUPERVISE}\n"
CRON = f"@reboot root {SUPERVISE}\n"
_LAST_EXIT = re.compile(r"^[ \t]*exit([ \t]+0)?[ \t]*;?[ \t]*(#.*)?$", re.MULTILINE)


def with_line(text: str) -> str:
    """An rc.local that starts the agent before its last `exit`; unchanged where it does so already."""
    if any(line.strip() == SUPERVISE for line in text.splitlines()):
        return text
    if text and not text.endswith("\n"):
        text += "\n"
    exits = list(_LAST_EXIT.finditer(text))
    at = exits[-1].start() if exits and not text[exits[-1].end() :].strip() else len(text)
    return f"{text[:at]}{SUPERVISE}\n{text[at:]}" if text else f"#!/bin/sh\n{SUPERVISE}\n"


def write(file: Path, text: str, mode: int) -> bool:
    """Replaces `file` at once where it says something else; whether it did."""
    with contextlib.suppress(FileNotFoundError):
        if file.read_text() == text and file.stat().st_mode & 0o7777 == mode:
            return False
    tmp = file.with_name(f".{file.name}.tmp")
    descriptor = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    tmp.replace(file)
    return True


def note(name: str, value: Any, memory: Path) -> None:
    """Writes down what `name` was before the first change, on disk before the change is made."""
    known = json.loads(memory.read_text()) if memory.exists() else {}
    if name in known:
        return
    memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(memory, json.dumps({**known, name: value}), 0o600)


def edit_rc_local(file: Path, memory: Path) -> None:
    """In place: it may be a mount of its own, and belongs to others too."""
    before = file.read_text()
    after = with_line(before)
    if after != before:
        note(RC_LOCAL, {"text": before, "mode": file.stat().st_mode & 0o7777}, memory)
        with file.open("r+") as handle:
            handle.write(after)
            handle.flush()
            os.fsync(handle.fileno())
    if not file.stat().st_mode & 0o100:
        file.chmod(file.stat().st_mode | 0o111)


def start_systemd() -> None:
    """The units are there, the agent's is enabled and runs the current release; returns once it is ready."""
    texts = {name: Path(__file__).with_name(name).read_text() for name in (UNIT, TUNNEL_UNIT)}
    written = [write(Path(UNIT_FOLDER, name), text, 0o644) for name, text in texts.items()]
    if any(written):
        _run("systemctl", "daemon-reload")
    _run("systemctl", "enable", "--quiet", UNIT)
    _run("systemctl", "restart", UNIT)


def start_openrc() -> None:
    """OpenRC's service `local` starts us; that it was not in the runlevel is written down."""
    write(Path(LOCAL_D), OPENRC, 0o755)
    if not Path("/etc/runlevels/default/local").exists():
        note("rc-update", "local was not in default", Path(BEFORE))
        _run("rc-update", "--quiet", "add", "local", "default")


def start_supervised() -> None:
    """A supervisor of the current release runs; the one before, and its agent, are ended first."""
    _run(PROGRAM, "supervise", "--restart")


def answers() -> bool:
    """Whether an agent listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(f"{RUN}/{SOCKET}")
        except OSError:
            return False
        return True


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether `condition` came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def main(kind: str) -> None:
    """Sets up boot, then starts."""
    if kind == "openrc":
        start_openrc()
    elif kind == "rc.local":
        edit_rc_local(Path(RC_LOCAL), Path(BEFORE))
    elif kind == "cron":
        write(Path(CRON_D), CRON, 0o644)
    elif kind == "none":
        sys.stdout.write(
            f"nothing that is known starts programs here (systemd, OpenRC, /etc/rc.local, cron): the agent "
            f"runs now, but for a reboot have '{SUPERVISE}' started\n"
        )
    if kind == "systemd":
        start_systemd()
    else:
        start_supervised()
    if not wait(answers, SECONDS):
        raise SystemExit(f"no answer within {SECONDS:g} s: look at its log ({_log(kind)})")


def _log(kind: str) -> str:
    return "journalctl -u fleet-agent" if kind == "systemd" else "/var/lib/fleet-agent/agent.log"


def _run(*argv: str) -> None:
    """A command that has to succeed. It may start what stays, so its output is not waited for."""
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it does not say why"])[-1]
        raise SystemExit(f"{argv[0].rpartition('/')[2]} {' '.join(argv[1:])}: {last}")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except OSError as error:
        raise SystemExit(f"{error.filename}: {error.strerror}") from None
