"""What a client is answered. Pure.

Job: a report, or why a request came to nothing, as JSON values. Called by service.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional

from agent import report as reports
from agent.codec import encode
from agent.host.errors import HostError
from agent.report import Change, Report
from agent.resident.admission import RefusedError
from agent.resident.store import StoreError


def answer(report: Report, changes: Optional[Iterable[Change]] = None) -> dict[str, Any]:
    """The answer to a client: a report and, after an apply, what was done."""
    found: dict[str, Any] = {"ok": True, "report": reports.to_json(report)}
    if changes is not None:
        found["changes"] = encode(tuple(changes))
    return found


def refusal(error: Exception) -> dict[str, Any]:
    """The answer to a client whose request came to nothing."""
    if isinstance(error, (RefusedError, StoreError, HostError)):
        return {"ok": False, "error": str(error)}
    return {"ok": False, "error": f"the agent failed, its log says more: {type(error).__name__}: {error}"}
