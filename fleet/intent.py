"""What an operator wants: an inventory that holds together, its links included.

The way in for every command that acts on a fleet. Raises what it finds all at once; decides nothing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fleet.errors import FindingsError
from fleet.inventory.model import Inventory
from fleet.inventory.read import Reading, read_all
from fleet.topology.check import check


def load(file: Path) -> Inventory:
    """The inventory in `file`. Raises FindingsError with everything that is wrong with it."""
    reading = examine(file)
    if reading.findings or reading.inventory is None:
        raise FindingsError(reading.findings)
    return reading.inventory


def examine(file: Path) -> Reading:
    """The inventory in `file`, as far as it could be read, and everything that is wrong with it."""
    reading = read_all(file)
    found = set(reading.findings)
    if reading.inventory is not None and reading.linked:
        found.update(check(reading.inventory))
    return replace(reading, findings=sorted(found))
