"""`fleet validate`, `fleet inventory` and `fleet init`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fleet.inventory.reference import rows
from fleet.inventory.typed import HOST_VARIABLES
from tests.fleet.inventory.write import FLEET, write

FLEET_COMMAND = Path(sys.executable).parent / "fleet"
TEXT = (
    FLEET
    + """\
      mtu: 1380
    secret: not ours
  children:
    core:
      vars: {fleet_transit: true, ansible_become_password: hunter2, tilted: '[x]'}
      hosts:
        fra1: {ansible_host: 203.0.113.10, day: 2026-01-02}
        sgp1: {fleet_endpoint: "vpn.example.net:1", fleet_subnets: [10.1.0.0/16]}
"""
)


def run(*argv: str | Path, code: int = 0) -> str:
    """Standard output, or standard error where the exit code is 1 and nothing else was said."""
    done = subprocess.run([FLEET_COMMAND, *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout or done.stderr


def load(*argv: str | Path, code: int = 0) -> Any:
    document = json.loads(run(*argv, "--json", code=code))
    assert document["version"] == 1
    return document


def test_validate_a_good_inventory(tmp_path: Path) -> None:
    file = write(tmp_path, TEXT)
    assert run("validate", file) == f"{file}: fleet test, 2 hosts, 1 rule: valid\n"
    assert load("validate", file) == {"version": 1, "ok": True, "findings": []}


def test_validate_says_everything_at_once(tmp_path: Path) -> None:
    file = write(tmp_path, TEXT.replace("mtu: 1380", "mtu: 9").replace("sgp1:", "sgp1: {}\n        fra1:"))
    lines = run("validate", file, code=1).splitlines()
    assert lines == [
        f"{file}:6:12: fleet.mtu: 9 is not between 1280 and 65535",
        f"{file}:14:9: duplicate key 'fra1', already on line 12: keep one of them",
    ]
    document = load("validate", file, code=1)
    assert document["ok"] is False
    assert [(f["line"], f["column"]) for f in document["findings"]] == [(6, 12), (14, 9)]
    assert run("inventory", file, code=1).splitlines() == lines


def test_validate_finds_what_needs_the_graph(tmp_path: Path) -> None:
    file = write(tmp_path, FLEET + "  hosts: {a: {fleet_nat: true}, b: {fleet_nat: true}}\n")
    assert "a and b cannot call each other" in run("validate", file, code=1)


def test_a_hosts_values_and_where_they_came_from(tmp_path: Path) -> None:
    file = write(tmp_path, TEXT)
    document = load("inventory", file, "--host", "fra1")
    assert (document["host"], document["groups"]) == ("fra1", ["core"])
    values = document["variables"]
    assert set(HOST_VARIABLES) <= set(values)
    assert values["fleet_mtu"] == {"value": 1380, "from": "fleet.mtu", "where": f"{file}:6:12"}
    assert values["fleet_transit"] == {"value": True, "from": "group core", "where": f"{file}:10:29"}
    assert values["fleet_endpoint"]["value"] == "203.0.113.10:51820"
    assert values["fleet_endpoint"]["from"] == "ansible_host"
    assert values["fleet_nat"] == {"value": False, "from": "default", "where": None}
    assert values["day"]["value"] == "2026-01-02"
    assert values["secret"]["from"] == "all"
    assert "fleet" not in values
    text = run("inventory", file, "--host", "fra1")
    assert f"fleet_transit            true                group core    {file}:10:29" in text
    assert "[x]" in text
    assert "hunter2" not in text + json.dumps(document)


def test_the_overview(tmp_path: Path) -> None:
    file = write(tmp_path, TEXT)
    document = load("inventory", file)
    assert document["fleet"] == {"name": "test", "pools": ["10.77.0.0/16", "fd77:ac3e::/48"]}
    assert document["groups"]["core"] == ["fra1", "sgp1"]
    assert document["hosts"]["sgp1"]["variables"]["fleet_subnets"]["value"] == ["10.1.0.0/16"]
    lines = run("inventory", file, "--limit", "sgp1").splitlines()
    assert [line.split()[0] for line in lines] == ["fleet", "host", "sgp1"]
    assert run("inventory", file, "--limit", "spg1", code=1).endswith("did you mean 'sgp1'?\n")


def test_a_host_that_is_not_there(tmp_path: Path) -> None:
    file = write(tmp_path, TEXT)
    assert run("inventory", file, "--host", "fra2", code=1) == (
        f"{file}: no host is called 'fra2'; did you mean 'fra1'?\n"
    )


def test_the_reference_has_every_key() -> None:
    text = run("inventory", "--reference")
    for row in rows():
        assert row.meaning
        assert f"| `{row.key}` | {row.scope} | {row.kind} | {row.default} | {row.meaning} |" in text
    assert set(HOST_VARIABLES) < {row.key for row in rows()}


def test_a_starter_is_valid_and_never_overwrites(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "fleet"
    assert str(folder / "inventory.yml") in run("init", folder)
    assert "fleet example, 3 hosts, 2 rules: valid" in run("validate", folder / "inventory.yml")
    (folder / "inventory.yml").write_text("mine")
    assert run("init", folder, code=1) == (
        f"{folder}/inventory.yml exists: name another folder, or move it away\n"
    )
    assert (folder / "inventory.yml").read_text() == "mine"
    assert "exists: name another folder" in run("init", folder / "inventory.yml", code=1)


@pytest.mark.parametrize("command", ["validate", "inventory"])
def test_no_such_file(tmp_path: Path, command: str) -> None:
    assert run(command, tmp_path / "none.yml", code=1) == (
        f"{tmp_path}/none.yml:1:1: cannot be read: No such file or directory\n"
    )
