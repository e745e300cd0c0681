"""The examples, and the starter that `fleet init` writes, are valid and Ansible agrees on what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.intent import load
from tests.fleet.inventory.oracle import assert_same

ROOT = Path(__file__).parents[2]
FILES = [*sorted((ROOT / "inventories").glob("*.yml")), ROOT / "fleet" / "inventory" / "starter.yml"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_valid(file: Path) -> None:
    assert load(file).hosts


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_ansible_reads_the_same_without_a_warning(file: Path) -> None:
    assert_same(file)
