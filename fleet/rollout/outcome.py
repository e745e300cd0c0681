"""What an apply did and what a status found, host by host. Views print these, exit codes come from them.

Pure values; refuse to know how they came about. Made by `fleet.rollout` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agent.report import Change, Report

Result = Literal["changed", "unchanged", "failed", "unreachable", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """`changes` were made; `error` is a sentence; `report` is the last word of the host.

    `notes` are sentences on what the operator should know besides.
    """

    host: str
    result: Result
    changes: tuple[Change, ...] = ()
    error: str | None = None
    report: Report | None = None
    notes: tuple[str, ...] = ()

    @property
    def backend(self) -> str | None:
        """kernel or userspace; None where there is no interface, or no report."""
        return backend_of(self.report)

    @property
    def ok(self) -> bool:
        """Whether this host is as it should be, or was left out on purpose."""
        return self.result in ("changed", "unchanged", "skipped")


@dataclass(frozen=True)
class HostStatus:
    """One host as status saw it; `error`, `HOST: SENTENCE`, where it was not reached or no agent answers.

    `reason` says why its backend is what it is, None where it has none; `asked_for`: whether the inventory
    asks for just that one.
    """

    host: str
    reachable: bool
    report: Report | None
    error: str | None
    reason: str | None = None
    asked_for: bool = False

    @property
    def backend(self) -> str | None:
        """kernel or userspace; None where there is no interface."""
        return backend_of(self.report)


def backend_of(report: Report | None) -> str | None:
    """userspace if any interface is."""
    backends = {interface.backend for interface in report.observed.interfaces} if report else set()
    return "userspace" if "userspace" in backends else "kernel" if backends else None
