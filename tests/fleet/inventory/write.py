"""Inventories in a folder of a test's own, and what is read from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fleet.inventory.model import Host, Inventory
from fleet.inventory.read import read

FLEET = """\
all:
  vars:
    fleet:
      name: test
      pools: [10.77.0.0/16, "fd77:ac3e::/48"]
"""


def write(folder: Path, text: str, beside: Mapping[str, str] | None = None) -> Path:
    """The inventory file; `beside` are other files, by their paths in the folder."""
    file = folder / "inventory.yml"
    file.write_text(text)
    for name, content in (beside or {}).items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    return file


def good(file: Path) -> Inventory:
    """An inventory in which nothing is wrong."""
    inventory, findings = read(file)
    assert [str(finding) for finding in findings] == []
    assert inventory is not None
    return inventory


def messages(file: Path) -> list[str]:
    """What is wrong, as LINE:COLUMN: MESSAGE, in order of place."""
    return [str(finding).removeprefix(f"{file}:") for finding in sorted(set(read(file)[1]))]


def one_host(folder: Path, variables: str, name: str = "fra1") -> Host:
    """The only host of a good inventory, with variables in flow style."""
    return good(write(folder, f"{FLEET}  hosts:\n    {name}: {{{variables}}}\n")).hosts[name]


def host_messages(folder: Path, variables: str) -> list[str]:
    """The messages, without their places, for a host with these variables in flow style."""
    file = write(folder, f"{FLEET}  hosts:\n    fra1: {{{variables}}}\n")
    return [message.split(": ", 1)[1] for message in messages(file)]
