"""Talks to the agent of one host, a command a question: apply a bundle, report, hand over its secrets.

Job: the requests' wire form and checking of answers at the border. Refuses to know what bundles are for.
Called by rollout.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from agent.bundle import Bundle
from agent.bundle import to_json as bundle_to_json
from agent.codec import CodecError, decode, loads
from agent.report import Change, Report
from agent.report import from_json as report_from_json
from agent.secret import Secrets
from fleet.delivery.facts import report_options
from fleet.delivery.release import ROOT
from fleet.transport.base import Completed, Transport, TransportError

_PROGRAM = f"{ROOT}/current/bin/fleet-agent"
_CONVERGE_SECONDS = 60.0
_PROBE_SECONDS = 10.0


@dataclass(frozen=True)
class Applied:
    """What an agent did with a bundle, and its report after that."""

    changes: tuple[Change, ...]
    report: Report


def apply(transport: Transport, bundle: Bundle, secrets: Secrets, replace_fleet: bool) -> Applied:
    """Hands a bundle over; returns when the host was converged and observed again. Raises TransportError."""
    document = {"bundle": bundle_to_json(bundle), "secrets": secrets.to_json()}
    option = " --replace-fleet" if replace_fleet else ""
    done = transport.run(
        f"{_PROGRAM} apply{option}",
        stdin=json.dumps(document).encode(),
        timeout=transport.timeout + _CONVERGE_SECONDS,
    )
    answer = _answer(transport, done)
    try:
        changes = decode(_Changes, {"changes": answer.get("changes", [])}).changes
        return Applied(changes, report_from_json(answer.get("report")))
    except CodecError as error:
        raise _unreadable(transport, error) from None


def report(transport: Transport, fleet: str, probe: bool) -> Report:
    """The host's report of the fleet with this id; with `probe`, its agent calls idle peers first.

    Raises TransportError.
    """
    command = shlex.join([_PROGRAM, "report", *report_options([fleet], probe)])
    timeout = transport.timeout + (_PROBE_SECONDS if probe else 0)
    answer = _answer(transport, transport.run(command, timeout=timeout))
    try:
        return report_from_json(answer.get("report"))
    except CodecError as error:
        raise _unreadable(transport, error) from None


def secrets(transport: Transport, fleet: str) -> Secrets:
    """The keys that the host holds for the fleet with this id, to take it over. Raises TransportError."""
    command = shlex.join([_PROGRAM, "secrets", *report_options([fleet])])
    answer = _answer(transport, transport.run(command, timeout=transport.timeout))
    try:
        return Secrets.from_json(answer.get("secrets"))
    except ValueError as error:
        raise _unreadable(transport, error) from None


def public_keys(transport: Transport) -> dict[str, str]:
    """The public key of every WireGuard interface of the host, whoever made it. Raises TransportError."""
    command = shlex.join([_PROGRAM, "show", "all", "public-key"])
    done = transport.run(command, timeout=transport.timeout)
    if done.exit_code:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise TransportError(transport.host, "failed", f"its interfaces cannot be listed: {last[:300]}")
    pairs = (line.split("\t") for line in done.stdout.decode(errors="replace").splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


@dataclass(frozen=True)
class _Changes:
    changes: tuple[Change, ...]


def _answer(transport: Transport, done: Completed) -> dict[str, Any]:
    """The agent's answer where it says ok. Raises TransportError with its own words where it has any."""
    try:
        answer: Any = loads(done.stdout)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        reason = f"its agent does not answer (exit code {done.exit_code}): {last[:300]}"
        raise TransportError(transport.host, "failed", reason)
    if answer.get("ok") is not True:
        said = answer.get("error")
        reason = said if isinstance(said, str) and said else "its agent fails and does not say why"
        raise TransportError(transport.host, "failed", reason)
    return answer


def _unreadable(transport: Transport, error: Exception) -> TransportError:
    return TransportError(transport.host, "failed", f"its agent's answer cannot be read: {error}")
