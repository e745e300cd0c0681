"""The resident agent: `fleet-agent service`.

Job: the loop that joins clients, link events, time and signals to the host's fleets; one thread, so that
two fleets never change the host at once. Refuses to decide what is due (member), which fleet is meant
(fleets), what a bundle is worth (admission) or what differs (converge). Called by cli. Ending it ends
nothing else: devices and tunnel processes go on.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Optional

from agent import places
from agent.host.process import start_tunnel
from agent.log import log
from agent.resident.admission import RefusedError
from agent.resident.answers import answer, refusal
from agent.resident.engine import Clocks, HostLike
from agent.resident.files import Lock, private_folder
from agent.resident.fleets import Fleets
from agent.resident.health import PeerKey
from agent.resident.member import Member, Shared
from agent.resident.notify import Notifier
from agent.resident.server import Client, Server
from agent.resident.units import TunnelUnit
from agent.resident.watch import Watch, indexes

_PR_SET_THP_DISABLE = 41  # include/uapi/linux/prctl.h
LOCK = "service.lock"
LOOK_SECONDS = 1.0
"""How often the interfaces are looked up: microseconds of work."""
ANSWER_SECONDS = 6.0
"""How long called peers may take: a call that was lost is repeated after REKEY_TIMEOUT, at most 5.34 s."""
_POLL_ANSWERS = 0.2


@dataclass
class Probe:
    """A client that waits for the answers of called peers."""

    client: Client
    member: Member
    called: frozenset[PeerKey]
    deadline: float


class Service:
    """Joins the parts; what the fleets keep is below `state`. `run` returns once `stop` was called."""

    def __init__(self, host: HostLike, server: Server, state: Path, notifier: Notifier) -> None:
        self._stop = False
        self._notifier = notifier
        clocks = Clocks(time.monotonic, time.time)
        around = Shared(host, clocks, places.release(), notifier.alive, lambda: self._stop)
        self._fleets = Fleets(around, state)
        self._server = server
        self._watch = _watch()
        self._probes: list[Probe] = []
        self._next_look = 0.0

    def run(self, wake: socket.socket) -> None:
        """Converges, then serves until `stop`; `wake` becomes readable at a signal."""
        self._fleets.load()
        for member in self._fleets.members:
            self._guarded(partial(member.restore, "start"))
        self._notifier.ready()
        log(f"ready, release {places.release()[:12]}")
        poll = select.poll()
        readable = [self._server.fileno(), wake.fileno()]
        if self._watch is not None:
            readable.append(self._watch.fileno())
        for descriptor in readable:
            poll.register(descriptor, select.POLLIN)
        while not self._stop:
            self._notifier.alive()
            events = {descriptor for descriptor, _ in poll.poll(1000 * self._patience(time.monotonic()))}
            if self._watch is not None and self._watch.fileno() in events:
                self._watch.drain()
                self._next_look = 0.0
            self._keep()
            self._serve()
            self._answer_probes()
            self._fleets.let_go()
        self._notifier.stopping()

    def stop(self) -> None:
        """Ends `run` soon; no further change is begun."""
        self._stop = True

    def close(self) -> None:
        self._server.close()
        if self._watch is not None:
            self._watch.close()

    def _patience(self, now: float) -> float:
        times = [self._next_look, self._server.deadline]
        times += [member.deadline for member in self._fleets.members]
        times += [now + _POLL_ANSWERS] if self._probes else []
        return max(0.0, min(at for at in times if at is not None) - now)

    def _guarded(self, action: Any) -> None:
        """An agent with a fault in one place stays resident for the rest; the log says where."""
        try:
            action()
        except Exception as error:
            log(str(error) if _is_expected(error) else f"fault: {_where(error)}")

    def _keep(self) -> None:
        now = time.monotonic()
        members = self._fleets.members
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._guarded(partial(self._look, members))
        for member in members:
            self._guarded(member.keep)

    def _look(self, members: Collection[Member]) -> None:
        found = indexes(place for member in members for place in member.expected())
        for member in members:
            self._guarded(partial(member.see, found))

    def _serve(self) -> None:
        for client, request in self._server.requests(time.monotonic()):
            try:
                found = self._carry_out(client, request)
            except Exception as error:
                found = refusal(error)
                log(f"refused: {found['error']} {'' if _is_expected(error) else _where(error)}")
            if found is not None:
                self._server.answer(client, found, time.monotonic())

    def _carry_out(self, client: Client, request: dict[str, Any]) -> Optional[dict[str, Any]]:
        """The answer, or None where it comes later."""
        operation = request.get("op")
        if operation == "apply":
            replace = request.get("replace_fleet") is True
            member = self._fleets.take(request.get("bundle"), request.get("secrets"), replace)
            done = member.converge("apply")
            self._guarded(lambda: member.call(done))
            return answer(member.engine.report(), done.changes)
        if operation not in ("report", "secrets"):
            return {"ok": False, "error": "an operation that this agent does not know"}
        member = self._fleets.find(_words(request)) or self._fleets.nobody()
        if operation == "secrets":
            return {"ok": True, "secrets": member.engine.secrets.to_json()}
        if request.get("probe"):
            called = member.engine.call()
            self._probes.append(Probe(client, member, called, time.monotonic() + ANSWER_SECONDS))
            return None
        return answer(member.engine.report())

    def _answer_probes(self) -> None:
        now = time.monotonic()
        for probe in list(self._probes):
            try:
                probe.called = probe.member.engine.unanswered(probe.called)
                if probe.called and now < probe.deadline:
                    continue
                found = answer(probe.member.engine.report())
            except Exception as error:
                found = refusal(error)
            self._probes.remove(probe)
            self._server.answer(probe.client, found, time.monotonic())


def run(run_folder: Path = Path(places.RUN), state_folder: Path = Path(places.STATE)) -> int:
    """The whole life of the process; returns its exit code."""
    try:
        private_folder(run_folder)
        lock = Lock(run_folder / LOCK)
        if not lock.take():
            print(f"an agent runs on this host already (process {lock.holder()})", file=sys.stderr)
            return 1
        server = Server(run_folder / places.SOCKET)  # early: who just started us may ask at once
    except OSError as error:
        print(f"{run_folder}: {error.strerror}; the agent needs root", file=sys.stderr)
        return 1
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # our memory has keys in it
    _take_small_pages()
    service = Service(_host(), server, state_folder, Notifier(os.environ))
    wake, signalled = socket.socketpair()
    signalled.setblocking(False)
    signal.set_wakeup_fd(signalled.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        service.run(wake)
    finally:
        service.close()
        lock.release()
    log("ended; devices and tunnels go on")
    return 0


def _take_small_pages() -> None:
    """Where huge pages are given unasked (Debian), they are a quarter of what we would take."""
    ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)


def _host() -> HostLike:
    from agent.host.host import Host

    if _has_units(os.environ):
        return Host(spawn=TunnelUnit)
    return Host(spawn=partial(start_tunnel, heard_by=sys.stderr.fileno()))


def _has_units(environ: Mapping[str, str]) -> bool:
    """Whether systemd started us (systemd.exec(5), INVOCATION_ID), and knows tunnels as units."""
    unit = Path(places.UNIT_FOLDER, places.TUNNEL_UNIT)
    return "INVOCATION_ID" in environ and Path("/run/systemd/system").is_dir() and unit.exists()


def _watch() -> Optional[Watch]:
    try:
        return Watch()
    except OSError as error:
        log(f"the kernel does not tell of links ({error.strerror}): looking every {LOOK_SECONDS:g} s")
        return None


def _words(request: dict[str, Any]) -> list[str]:
    """The ids and names of the fleet that a request is about. Raises RefusedError."""
    words = request.get("fleets", [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise RefusedError("fleets: expected a list of ids and names")
    return words


def _is_expected(error: Exception) -> bool:
    return not refusal(error)["error"].startswith("the agent failed")


def _where(error: Exception) -> str:
    """The fault and the place, on one line, without values."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    lines = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
    return f"{type(error).__name__}: {error} ({lines})"
