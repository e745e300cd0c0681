"""What a host is, asked in one command: what the agent needs there, and what the agent there says.

Job: run facts.sh, check every value at the border. Refuses to decide what to do about it. Called by
rollout.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from agent.codec import CodecError, loads
from agent.report import Report
from agent.report import from_json as report_from_json
from fleet.delivery.manifest import Manifest
from fleet.delivery.manifest import from_text as read_manifest
from fleet.transport.base import Completed, Transport, TransportError

Boot = Literal["systemd", "openrc", "rc.local", "cron", "none"]
_BOOTS: tuple[Boot, ...] = ("systemd", "openrc", "rc.local", "cron", "none")
_FLEET_FOLDER = re.compile(r"/fleets/([0-9a-f]{32})/state\.json(?:\s|$)")
_PROBE_SECONDS = 10.0  # how much longer an agent may take that calls its idle peers first


@dataclass(frozen=True)
class Python:
    """The interpreter that the agent will run on: its path, version and word size, and what it can import."""

    path: str
    version: tuple[int, int, int]
    kind: str
    bits: int
    libc: str
    libc_version: tuple[int, int]
    modules: frozenset[str]


@dataclass(frozen=True)
class Facts:
    """What one host is.

    `old_python` is the version of an interpreter that is too old where there is no other, `lacks` what its
    standard library should have and does not. `boot` says what starts things there. `release` is the digest
    of the installed agent, `manifest` what it is, None where it does not say; `report` what it said of one
    fleet, `agent_error` why it said nothing; `fleets` are the ids of those that the host is in. Space is in
    bytes, None where unknown; `clock` in seconds.
    """

    machine: str
    python: Python | None
    old_python: str | None
    boot: Boot
    wireguard: bool
    free_opt: int | None
    free_var: int | None
    clock: float
    release: str | None = None
    report: Report | None = None
    agent_error: str | None = None
    lacks: tuple[str, ...] = ()
    manifest: Manifest | None = None
    fleets: tuple[str, ...] = ()


def gather(transport: Transport, fleets: Sequence[str], probe: bool = False) -> Facts:
    """Asks one host, its agent for the fleet that has one of the ids and names `fleets`.

    With `probe`, the agent calls idle peers before it answers. Raises TransportError.
    """
    timeout = transport.timeout + (_PROBE_SECONDS if probe else 0)
    command = shlex.join(["/bin/sh", "-s", "--", *report_options(fleets, probe)])
    done = transport.run(command, stdin=_script(), timeout=timeout)
    try:
        return parse(done)
    except ValueError as error:
        raise TransportError(transport.host, "failed", f"its answers make no sense: {error}") from None


def report_options(fleets: Iterable[str], probe: bool = False) -> list[str]:
    """The words that ask an agent for the report of a fleet."""
    return [*(["--probe"] if probe else []), *(word for fleet in fleets for word in ("--fleet", fleet))]


def parse(done: Completed) -> Facts:
    """Facts from what facts.sh printed. Raises ValueError with what is wrong."""
    values = _values(done)
    release = values.get("release")
    if release is not None:
        _check("release", release, r"[0-9a-f]{64}")
    report, agent_error = None, None
    if release is not None:
        report, agent_error = _report(values.get("report", ""), done.stderr)
    boot = next((name for name in _BOOTS if name == values.get("boot")), None)
    if boot is None:
        raise ValueError("boot is none of those we know")
    return Facts(
        machine=_check("machine", values.get("machine", ""), r"[a-zA-Z0-9_]{1,32}"),
        python=_python(values),
        old_python=_check("old-python", values["old-python"], r"\d+\.\d+\.\d+")
        if "old-python" in values
        else None,
        boot=boot,
        wireguard=values.get("wireguard") == "yes",
        free_opt=_kib(values.get("free-opt", "")),
        free_var=_kib(values.get("free-var", "")),
        clock=float(_check("clock", values.get("clock", ""), r"\d{1,12}")),
        release=release,
        report=report,
        agent_error=agent_error,
        lacks=tuple(values.get("lacks", "").split()),
        manifest=None if "manifest" not in values else read_manifest(values["manifest"]),
        fleets=tuple(_FLEET_FOLDER.findall(values.get("fleets", ""))),
    )


def _values(done: Completed) -> dict[str, str]:
    """The lines between the first and the last; a login script may have printed before them."""
    lines = done.stdout.decode(errors="replace").splitlines()
    if "fleet-facts 1" not in lines or "end" not in lines:
        said = (done.stderr.strip().splitlines() or lines or ["nothing"])[-1]
        raise ValueError(f"exit code {done.exit_code}, {said[:200]!r}; can its root run /bin/sh?")
    values = {}
    for line in lines[lines.index("fleet-facts 1") + 1 :]:
        key, _, value = line.partition(" ")
        values[key] = value
    return values


def _python(values: dict[str, str]) -> Python | None:
    if "python" not in values:
        return None
    version = _check("python-version", values.get("python-version", ""), r"\d{1,3}\.\d{1,3}\.\d{1,3}").split(
        "."
    )
    kind, _, bits = _check(
        "python-kind", values.get("python-kind", ""), r"[a-z0-9-]{1,20} (32|64)"
    ).partition(" ")
    libc, _, number = _check("libc", values.get("libc", ""), r"(glibc|musl) \d+\.\d+(\.\d+)?").partition(" ")
    major, minor, *_ = number.split(".")
    return Python(
        path=_check("python", values["python"], r"/[a-zA-Z0-9_.,:=@%+~/-]{1,120}"),
        version=(int(version[0]), int(version[1]), int(version[2])),
        kind=kind,
        bits=int(bits),
        libc=libc,
        libc_version=(int(major), int(minor)),
        modules=frozenset(values.get("modules", "").split()) & {"cryptography", "nacl", "pyroute2"},
    )


def _report(text: str, complaints: str) -> tuple[Report | None, str | None]:
    """The agent's report, or why there is none, in its own words where it has any."""
    try:
        answer: Any = loads(text)
    except ValueError:
        last = complaints.strip().splitlines()[-1:] or ["it says nothing"]
        return None, f"the agent does not answer: {last[0][:300]}"
    if not isinstance(answer, dict) or answer.get("ok") is not True:
        said = answer.get("error") if isinstance(answer, dict) else None
        return None, f"the agent fails: {said if isinstance(said, str) else 'it does not say why'}"
    try:
        return report_from_json(answer.get("report")), None
    except CodecError as error:
        return None, f"the agent's report cannot be read ({error}): fleet apply installs the agent that fits"


def _check(name: str, value: str, pattern: str) -> str:
    if not re.fullmatch(pattern, value):
        raise ValueError(f"{name} is {value[:80]!r}")
    return value


def _kib(text: str) -> int | None:
    return int(text) * 1024 if re.fullmatch(r"\d{1,15}", text) else None


@cache
def _script() -> bytes:
    return files("fleet.delivery").joinpath("facts.sh").read_bytes()
