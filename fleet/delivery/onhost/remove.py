"""Runs on a host, as root: says what fleet put there, or takes it away.

Job: the fleet that is meant leaves (its agent undoes what it did to links, addresses, routes, firewall and
forwarding); where no other fleet is left, the agent is ended and every place of the list goes, the folder of
the agent's state last: as long as it is there, the host is not done, and the same again goes on from there.
The work is done by a process of its own session, which a lost connection does not end. Sent as text by
`fleet.delivery.remove`, so it imports the standard library only, Python 3.9. Standard input has a Request as
JSON; prints one JSON object, {"ok": true, ...} or {"ok": false, "error": SENTENCE}.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

LEAVE_SECONDS = 60.0
END_SECONDS = 12.0
TURN_SECONDS = 90.0
TUNNEL_SECONDS = 3.0
_STEP = 0.02


class RemoveError(Exception):
    """A sentence with the cure."""


@dataclass(frozen=True)
class Request:
    """`put` is the list of what is put on a host, as agent.places has it, and the other places are of there.

    `bundle` is the document that makes the agent leave the fleet with the id `fleet`; None: it has left, or
    was never in it. `interfaces` are names to look for. `root` stands before every path, for tests.
    """

    put: dict[str, list[str]]
    remembered: list[str]
    program: str
    run: str
    state: str
    unit_folder: str
    rc_local: str
    before: str
    fleet: str
    interfaces: list[str]
    bundle: Optional[dict[str, Any]] = None
    root: str = ""

    def path(self, name: str) -> Path:
        return Path(f"{self.root}{name}")

    @property
    def units(self) -> list[Path]:
        return [self.path(f"{self.unit_folder}/{unit}") for unit in self.put["units"]]

    @property
    def folders(self) -> list[Path]:
        return [self.path(folder) for folder in self.put["folders"]]

    @property
    def releases(self) -> str:
        """What the paths of everything that the agent runs begin with."""
        return f"{self.installed}/releases/"

    @property
    def installed(self) -> str:
        """The folder that the agent's releases are in."""
        return self.program.partition("/current/")[0]


def look(request: Request) -> dict[str, Any]:
    """What there is: places, ids of fleets, interfaces of the asked names, and what the agent could undo."""
    units = [*request.units, *_links(request)]
    places = [*units, *map(request.path, request.put["files"]), *request.folders]
    found = [str(path) for path in places if _is_there(path)]
    line = _lines(request)
    run = request.path(request.run)
    return {
        "places": [*found, *([f"{request.rc_local} ({line[0].strip()})"] if line else [])],
        "fleets": _fleets(request),
        "interfaces": [name for name in request.interfaces if Path("/sys/class/net", name).exists()],
        "undone": sorted(path.name for pattern in request.remembered for path in run.glob(pattern)),
    }


def remove(request: Request) -> dict[str, Any]:
    """Leaves the fleet; then, where no other is left, everything goes. Raises RemoveError, OSError."""
    if request.bundle is not None:
        _leave(request)
    fleets = _fleets(request)
    if request.fleet in fleets:
        raise RemoveError("its agent still keeps the fleet: look at its log, then run the same again")
    if fleets:
        return {"kept": True}
    _check_tunnels(request)
    _wait_for_installers(request)
    _end(request)
    for path in [*_links(request), *request.units, *map(request.path, request.put["files"])]:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    if _is_systemd():
        _try("systemctl", "daemon-reload")
        for unit in request.put["units"]:
            _try("systemctl", "reset-failed", unit)
    _restore(request)
    for folder in map(request.path, request.put["shared"]):
        with contextlib.suppress(OSError):
            folder.rmdir()
    for folder in request.folders:
        _remove_folder(folder)
    return {"kept": False}


def _leave(request: Request) -> None:
    """The agent takes the bundle without interfaces, undoes everything and forgets the fleet."""
    document = json.dumps({"bundle": request.bundle, "secrets": []})
    try:
        done = subprocess.run(
            [request.program, "apply"],
            input=document,
            capture_output=True,
            text=True,
            check=False,
            timeout=LEAVE_SECONDS,
        )
        answer = json.loads(done.stdout)
        said = answer.get("error") or "it does not say why"
    except subprocess.TimeoutExpired:
        raise RemoveError(f"its agent did not leave the fleet within {LEAVE_SECONDS:g} s") from None
    except (ValueError, AttributeError):
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise RemoveError(f"its agent does not answer: {last[:300]}") from None
    if answer.get("ok") is not True:
        raise RemoveError(str(said))
    report = answer["report"]
    if report["pending"]:
        why = report["problems"][0] if report["problems"] else "its log says why"
        left = ", ".join(f"{change['layer']} {change['item']}" for change in report["pending"][:3])
        raise RemoveError(f"not everything could be undone ({left}): {why}")
    _wait(lambda: request.fleet not in _fleets(request), END_SECONDS)


def _fleets(request: Request) -> list[str]:
    return sorted(file.parent.name for file in request.path(request.state).glob("fleets/*/state.json"))


def _links(request: Request) -> list[Path]:
    """By which the units are enabled; they may lead nowhere by now."""
    folders = sorted(request.path(request.unit_folder).glob("*.wants"))
    links = (folder / unit for folder in folders for unit in request.put["units"])
    return [link for link in links if os.path.lexists(link)]


def _wait_for_installers(request: Request) -> None:
    """Nobody unpacks an agent there meanwhile (onhost/install.py, alone); the lock goes with this process."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(request.path(request.installed), os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _check_tunnels(request: Request) -> None:
    """A tunnel that no fleet made runs from these files too; the fleet's are ending. Raises RemoveError."""

    def running() -> list[str]:
        found = [(pid, words) for pid, words in _processes(request) if words[:1] == ["tunnel"]]
        return [f"{words[1]} (process {pid})" for pid, words in found]

    if not _wait(lambda: not running(), TUNNEL_SECONDS):
        raise RemoveError(
            f"tunnels of no fleet run from the agent's files: {', '.join(running())}; end them, then run the "
            "same again"
        )


def _end(request: Request) -> None:
    """Nothing starts the agent any more, and it has ended. Raises RemoveError."""
    if _is_systemd():
        for unit in request.put["units"]:
            _try("systemctl", "disable", "--quiet", unit)
            _try("systemctl", "stop", unit)

    def running() -> list[int]:
        return [pid for pid, words in _processes(request) if words[:1] in (["service"], ["supervise"])]

    for number, seconds in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, END_SECONDS)):
        for pid in running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if _wait(lambda: not running(), seconds):
            return
    raise RemoveError(f"its agent does not end (process {running()}): kill it, then run the same again")


def _processes(request: Request) -> Iterator[tuple[int, list[str]]]:
    """Those of this host (not of containers on it) that run from a release, and the words they were given."""
    here = os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            ours = len(words) > 2 and words[1] == "-I" and words[2].startswith(request.releases)
            if ours and os.readlink(folder / "ns/pid") == here:  # noqa: PTH115
                yield int(folder.name), words[3:]


def _lines(request: Request) -> list[str]:
    """The lines of rc.local that are ours."""
    with contextlib.suppress(OSError):
        text = request.path(request.rc_local).read_text()
        return [line for line in text.splitlines(keepends=True) if line.strip() in request.put["lines"]]
    return []


def _restore(request: Request) -> None:
    """What belongs to others is as it was; where they changed it since, it is only without us."""
    try:
        before = json.loads(request.path(request.before).read_text())
    except (OSError, ValueError):
        before = {}
    ours = _lines(request)
    if ours:
        file = request.path(request.rc_local)
        text = "".join(line for line in file.read_text().splitlines(keepends=True) if line not in ours)
        former = before.get(request.rc_local, {})
        original = former.get("text")
        if original is not None and _same(text, original):
            text = original
        with file.open("r+") as handle:  # in place: it may be a mount of its own
            handle.write(text)
            handle.truncate()
            handle.flush()
            os.fsync(handle.fileno())
        if text == original:
            file.chmod(former["mode"])
    if "rc-update" in before:
        _try("rc-update", "--quiet", "del", "local", "default")


def _same(text: str, original: str) -> bool:
    """Whether `text` differs from `original` only by what a file needed to have our line in it."""
    return text.rstrip("\n") == original.rstrip("\n") or (not original and text == "#!/bin/sh\n")


def _is_there(path: Path) -> bool:
    """A mount point was there before us: it is ours as long as something is in it."""
    return os.path.lexists(path) and not (path.is_mount() and not any(path.iterdir()))


def _remove_folder(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_mount():
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _is_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def _try(*argv: str) -> None:
    """A command that may fail: what it was to do is looked at afterwards, or was done before."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=LEAVE_SECONDS
        )


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(_STEP)
    return True


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One at a time on a host: the lock is a name that goes with its process (unix(7), abstract)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:

        def take() -> bool:
            try:
                lock.bind("\0fleet-agent-remove")
            except OSError:
                return False
            return True

        if not _wait(take, TURN_SECONDS):
            raise RemoveError("an earlier removal is still at work there: run the same again in a minute")
        yield


def answer(mode: str, request: Request) -> dict[str, Any]:
    """What is printed, whatever happens."""
    try:
        if mode == "look":
            return {"ok": True, **look(request)}
        with _alone():
            return {"ok": True, **remove(request)}
    except RemoveError as error:
        return {"ok": False, "error": str(error)}
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return {"ok": False, "error": f"not everything could be removed: {reason}; run the same again"}


def apart(work: Callable[[], str]) -> str:
    """What `work` returns, done by a process that a lost connection does not reach."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(read)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        try:
            text = work()
        except BaseException as error:
            text = json.dumps({"ok": False, "error": f"removal failed: {type(error).__name__}: {error}"})
        with contextlib.suppress(OSError):
            os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        return pipe.read()


def _text(mode: str, request: Request) -> str:
    return json.dumps(answer(mode, request))


def main() -> int:
    """Prints the answer; exit code 0 where all went well."""
    mode, request = sys.argv[1], Request(**json.load(sys.stdin))
    text = apart(lambda: _text(mode, request)) if mode == "remove" else _text(mode, request)
    sys.stdout.write(text + "\n")
    return 0 if json.loads(text)["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
