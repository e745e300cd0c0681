"""A command inside a node, as if it had been typed there: terminal, input and exit code pass through.

Called by the command `lab exec`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType

from fleet.lab import syscalls

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOUND = 127


def run(pid: int, command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs `command` in all namespaces of process `pid`; its exit code, 128 + N where signal N ended it."""
    flags = {
        "net": syscalls.CLONE_NEWNET,
        "uts": syscalls.CLONE_NEWUTS,
        "pid": syscalls.CLONE_NEWPID,
        "mnt": syscalls.CLONE_NEWNS,
    }
    spaces = {name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in flags}
    sys.stdout.flush()
    syscalls.setns(spaces["pid"], flags["pid"])  # it is the children who enter this one
    child = os.fork()
    if child == 0:
        try:
            syscalls.die_with_parent(signal.SIGKILL)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that would be inherited
            for name in ("net", "uts", "mnt"):
                syscalls.setns(spaces[name], flags[name])
            os.chdir(environ.get("HOME", "/"))
            os.execvpe(command[0], list(command), dict(environ))  # noqa: S606 - there is no shell to want
        except OSError as error:
            sys.stderr.write(f"{command[0]}: {error.strerror}\n")
            sys.stderr.flush()
        finally:
            os._exit(NOT_FOUND)
    return _wait(child)


def _wait(child: int) -> int:
    """Waits; Ctrl-C is the terminal's to deliver, a request to end is handed on."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        del frame
        with suppress(ProcessLookupError):
            os.kill(child, number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, hand_on)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
