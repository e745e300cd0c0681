"""The nodes of a lab that are running: found by a mark in their command line, so no crash hides one.

A node's pid 1 is `/bin/sh /sbin/init MARK ...` as root, and pid 1 of a namespace below this one. Called by
`build`, `lab` and `access`.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fleet.errors import FleetError

_SECONDS = 20.0


def mark(lab_id: str, node: str) -> str:
    """What a node's pid 1 is called with."""
    return f"fleet-lab:{lab_id}:{node}"


def running(lab_id: str) -> dict[str, int]:
    """Process ids of the nodes that are up, by name."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            node = _node(int(entry.name), lab_id)
            if node is not None:
                found[node] = int(entry.name)
    return found


def is_running(lab_id: str, node: str, pid: int) -> bool:
    """Whether this process is (still) that node."""
    return _node(pid, lab_id) == node


def end(lab_id: str, nodes: Iterable[tuple[str, int]]) -> None:
    """Kills nodes, with everything that runs in them, and waits until they are gone."""
    waiting = []
    for node, pid in nodes:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        if is_running(lab_id, node, pid):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            waiting.append((node, pid, descriptor))
        else:
            os.close(descriptor)
    limit = time.monotonic() + _SECONDS
    for node, pid, descriptor in waiting:
        left = max(0.0, limit - time.monotonic())
        gone = bool(select.select([descriptor], [], [], left)[0])
        os.close(descriptor)
        if not gone:
            raise FleetError(f"{node} (process {pid}) was killed but does not end: see /proc/{pid}/stack")
        with suppress(ChildProcessError):  # ours to reap only where this process made it
            os.waitpid(pid, os.WNOHANG)


def _node(pid: int, lab_id: str) -> str | None:
    place = Path(f"/proc/{pid}")
    try:
        words = (place / "cmdline").read_bytes().split(b"\0")
        if len(words) < 3 or words[:2] != [b"/bin/sh", b"/sbin/init"]:
            return None
        prefix = mark(lab_id, "").encode()
        if not words[2].startswith(prefix) or place.stat().st_uid != 0:
            return None
        status = (place / "status").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    # anybody can call a process anything, but only a namespace's first process has pid 1 in it
    pids = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    return words[2].removeprefix(prefix).decode() if len(pids) > 1 and pids[-1] == "1" else None
