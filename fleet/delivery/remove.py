"""Takes the agent, and whatever else fleet put there, off a host; or says what of it there is.

Job: run `onhost/remove.py` there with the list of what is put on a host, turn its answer into values or an
error. Refuses to know when a host is to be left. Called by rollout.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from agent import places
from agent.bundle import Bundle
from agent.bundle import to_json as bundle_to_json
from agent.codec import CodecError, decode, loads
from fleet.transport.base import Transport, TransportError

T = TypeVar("T")

_REMOVE_SECONDS = 150.0
_LAST_SECONDS = 15.0
"""How long a host may take whose way may be gone: the agent has left and ended after less than a second."""


@dataclass(frozen=True)
class Traces:
    """What of fleet's is on a host.

    `places`: files and folders, as sentences have them. `fleets`: ids of those that it is in. `interfaces`:
    which of the names asked for there are, whoever made them. `undone`: what an agent would have to undo
    once it has left its fleets.
    """

    places: tuple[str, ...] = ()
    fleets: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()


@dataclass(frozen=True)
class Removed:
    """`kept`: the agent stays, for another fleet."""

    kept: bool


def look(transport: Transport, python: str, fleet: str, interfaces: Sequence[str]) -> Traces:
    """Changes nothing. Raises TransportError."""
    return _ask(transport, python, "look", _request(fleet, interfaces, None), transport.timeout, Traces)


def remove(
    transport: Transport, python: str, fleet: str, empty: Bundle | None, last_word: bool
) -> Removed | None:
    """Leaves the fleet by the bundle `empty` (None: it is in it no more); then what nobody needs goes.

    `last_word`: the way to the host may go with its fleet. Then nothing coming back is no error, but None.
    Raises TransportError.
    """
    patience = _LAST_SECONDS if last_word else _REMOVE_SECONDS
    try:
        request = _request(fleet, (), empty)
        return _ask(transport, python, "remove", request, transport.timeout + patience, Removed)
    except _LostError as error:
        if last_word:
            return None
        raise TransportError(error.host, error.kind, error.reason) from None


class _LostError(TransportError):
    """Nothing came back."""


def _request(fleet: str, interfaces: Sequence[str], empty: Bundle | None) -> dict[str, Any]:
    return {
        "put": places.PUT,
        "remembered": places.REMEMBERED,
        "program": places.PROGRAM,
        "run": places.RUN,
        "state": places.STATE,
        "unit_folder": places.UNIT_FOLDER,
        "rc_local": places.RC_LOCAL,
        "before": places.BEFORE,
        "fleet": fleet,
        "interfaces": interfaces,
        "bundle": None if empty is None else bundle_to_json(empty),
    }


def _ask(
    transport: Transport, python: str, mode: str, request: dict[str, Any], timeout: float, kind: type[T]
) -> T:
    command = shlex.join([python, "-I", "-c", _program(), mode])
    try:
        done = transport.run(command, stdin=json.dumps(request).encode(), timeout=timeout)
    except TransportError as error:
        raise _LostError(error.host, error.kind, error.reason) from None
    try:
        answer: Any = loads(done.stdout)
        if answer["ok"] is True:
            return decode(kind, {name: value for name, value in answer.items() if name != "ok"})
        reason = str(answer["error"])
    except CodecError as error:
        reason = f"what it says makes no sense: {error}"
    except (ValueError, KeyError, TypeError):
        said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        reason = f"nothing can be removed (exit code {done.exit_code}): {said[:300]}"
    raise TransportError(transport.host, "failed", reason)


@cache
def _program() -> str:
    return files("fleet.delivery.onhost").joinpath("remove.py").read_text()
