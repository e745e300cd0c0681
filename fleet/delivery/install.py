"""Brings a release onto a host, in one command: unpacked, checked, made current, started.

Job: run `onhost/install.py` there with the archive as its input, turn its answer into notes or an error.
Refuses to know what is in the archive. Called by rollout.
"""

from __future__ import annotations

import shlex
from functools import cache
from importlib.resources import files
from typing import Any

from agent.codec import loads
from fleet.delivery.facts import Boot
from fleet.delivery.release import ROOT, Release
from fleet.transport.base import Transport, TransportError

_START_SECONDS = 60.0
_SLOWEST_BYTES_A_SECOND = 64_000


def install(transport: Transport, release: Release, archive: bytes, boot: Boot) -> list[str]:
    """Installs and starts; what the operator should know besides, as sentences. Raises TransportError."""
    program = shlex.join([release.python, "-I", "-c", _program(), ROOT, release.digest, boot])
    timeout = transport.timeout + _START_SECONDS + len(archive) / _SLOWEST_BYTES_A_SECOND
    done = transport.run(program, stdin=archive, timeout=timeout)
    try:
        answer: Any = loads(done.stdout)
        if answer["ok"] is True:
            return [str(note) for note in answer["notes"]]
        reason = str(answer["error"])
    except (ValueError, KeyError, TypeError):
        said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        reason = f"the agent cannot be installed (exit code {done.exit_code}): {said[:300]}"
    raise TransportError(transport.host, "failed", reason)


@cache
def _program() -> str:
    return files("fleet.delivery.onhost").joinpath("install.py").read_text()
