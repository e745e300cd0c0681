"""Host patterns, as Ansible matches them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleet.errors import FleetError
from fleet.inventory.patterns import match, select
from tests.fleet.inventory.write import FLEET, good, write

GROUPS = {
    "all": ("fra1", "sgp1", "nyc1", "oslo.eu", "lima"),
    "ungrouped": (),
    "core": ("fra1", "sgp1", "nyc1"),
    "branches": ("lima", "oslo.eu"),
    "eu": ("fra1", "oslo.eu"),
    "empty": (),
}
HOSTS = GROUPS["all"]


@pytest.mark.parametrize(
    ("pattern", "hosts"),
    [
        ("all", "fra1 sgp1 nyc1 oslo.eu lima"),
        ("*", "fra1 sgp1 nyc1 oslo.eu lima"),
        ("core", "fra1 sgp1 nyc1"),
        ("core:branches", "fra1 sgp1 nyc1 oslo.eu lima"),
        ("lima,fra1", "fra1 lima"),
        ("core:!fra1", "sgp1 nyc1"),
        ("!fra1:core", "sgp1 nyc1"),
        ("!core", "oslo.eu lima"),
        ("core:&eu", "fra1"),
        ("&eu:core", "fra1"),
        ("core:branches:&eu:!fra1", "oslo.eu"),
        ("&eu", "fra1 oslo.eu"),
        ("*.eu", "oslo.eu"),
        ("co*", "fra1 sgp1 nyc1"),
        ("?ima", "lima"),
        ("[fl]*", "fra1 lima"),
        ("~(fra|sgp)", "fra1 sgp1"),
        ("~.*1$", "fra1 sgp1 nyc1"),
        ("core[0]", "fra1"),
        ("core[-1]", "nyc1"),
        ("core[1:]", "sgp1 nyc1"),
        ("core[0:1]", "fra1 sgp1"),
        ("core[0:99]", "fra1 sgp1 nyc1"),
        ("branches[0]", "lima"),
        ("core:!core[0]", "sgp1 nyc1"),
        (" core , lima ", "fra1 sgp1 nyc1 lima"),
        ("core:empty", "fra1 sgp1 nyc1"),
    ],
)
def test_matched_in_the_inventorys_order(pattern: str, hosts: str) -> None:
    assert match(pattern, GROUPS, HOSTS) == hosts.split()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("cor", "no host or group matches 'cor'; did you mean 'core'?"),
        ("core:!fra2", "no host or group matches 'fra2'; did you mean 'fra1'?"),
        ("core:&europe", "no host or group matches 'europe'"),
        ("core:!core", "the pattern 'core:!core' matches no host"),
        ("empty", "the pattern 'empty' matches no host"),
        ("core[3]", "'core[3]': 'core' has only 3 hosts"),
        ("core[-4]", "'core[-4]': 'core' has only 3 hosts"),
        ("~(", "'~(' is not a regular expression"),
        ("*.us", "no host or group matches '*.us'"),
    ],
)
def test_what_matches_nothing_is_an_error(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        match(pattern, GROUPS, HOSTS)


def test_selecting_from_an_inventory(tmp_path: Path) -> None:
    file = write(
        tmp_path, FLEET + "  hosts:\n    b:\n    a:\n  children:\n    g:\n      hosts:\n        c:\n"
    )
    inventory = good(file)
    assert select(inventory, None) == ["b", "a", "c"]
    assert select(inventory, "ungrouped") == ["b", "a"]
    assert select(inventory, "g,a") == ["a", "c"]
    for empty in ("", " ", ","):
        with pytest.raises(FleetError, match="empty"):
            select(inventory, empty)
    with pytest.raises(FleetError, match=r"inventory\.yml: no host or group matches 'd'"):
        select(inventory, "d")
