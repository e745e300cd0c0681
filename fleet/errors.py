"""What goes wrong in a way that a person can mend: one exception type and where in a file it happened.

Called by every package of the controller; only `fleet.cli.main` turns these into output and exit codes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


class FleetError(Exception):
    """A sentence for the operator: what is wrong and what to do next. Ends a command with exit code 1."""


@dataclass(frozen=True, order=True)
class Location:
    """A place in a file; line and column count from 1."""

    file: Path
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, order=True)
class Finding:
    """Something wrong at a place, printed as `file:line:column: message`."""

    where: Location
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class FindingsError(FleetError):
    """Everything that is wrong with an inventory, in one go, ordered by place and without repetition."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(sorted(set(findings)))
        super().__init__("\n".join(map(str, self.findings)))
