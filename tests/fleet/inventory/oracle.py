"""The oracle: what `ansible-inventory --list` makes of a file, and whether we make the same of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fleet.errors import Finding
from fleet.inventory.read import Source, read_source
from fleet.inventory.tree import ALL
from fleet.inventory.variables import resolve

BIN = Path(sys.executable).parent
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}


def run(*argv: str | Path) -> str:
    """Standard output of an Ansible command that must succeed without a warning."""
    name, *rest = argv
    done = subprocess.run([BIN / name, *rest], capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def ours(file: Path) -> Source:
    findings: list[Finding] = []
    source = read_source(file, findings)
    assert findings == []
    assert source is not None
    return source


def assert_same(file: Path) -> None:
    """Same hosts, groups, children and variables."""
    theirs = json.loads(run("ansible-inventory", "-i", file, "--list"))
    source = ours(file)
    variables = {
        name: {key: item.read() for key, item in found.items()}
        for name, _, found in resolve(source.tree, source.layers)
    }
    hostvars = theirs.pop("_meta")["hostvars"]
    assert json.loads(json.dumps(variables, default=str)) == {
        name: hostvars.get(name, {}) for name in variables
    }
    assert set(hostvars) <= set(variables)
    groups: dict[str, Any] = {}
    for name, group in source.tree.groups.items():
        found = {"children": list(group.children)}
        if name != ALL:
            found["hosts"] = list(group.hosts)
        groups[name] = {key: value for key, value in found.items() if value}
    assert theirs == {name: group for name, group in groups.items() if group}
