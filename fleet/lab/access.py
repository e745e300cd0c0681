"""How an inventory's lab is logged in to. Called by the commands that use hosts (apply, status)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet.inventory.model import Inventory
from fleet.lab.layout import INTERNET
from fleet.lab.processes import running
from fleet.lab.record import find as find_record


@dataclass(frozen=True)
class LabAccess:
    """The lab's private key and its hosts' keys; nothing of the user's own is used for lab hosts."""

    key_file: Path
    known_hosts: Path


def find(inventory: Inventory) -> LabAccess | None:
    """The lab of this inventory if one is up; then its addresses lead to nobody else. Raises FleetError."""
    found = find_record(inventory.file)
    if found is None:
        return None
    place, record = found
    if INTERNET not in running(record.layout.id):
        return None
    return LabAccess(place.key_file, place.known_hosts)
