"""Every command of the README's tour does what it says, run in order on a copy with other addresses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab.mesh import ROOT

pytestmark = [pytest.mark.lab, pytest.mark.slow]


def tour() -> list[str]:
    text = (ROOT / "README.md").read_text().partition("## A tour")[2]
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def test_the_tour(tmp_path: Path) -> None:
    commands = tour()
    assert len(commands) > 8
    assert all(command.startswith(".venv/bin/fleet ") for command in commands)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    shutil.copytree(ROOT / "inventories", tmp_path / "inventories", ignore=shutil.ignore_patterns(".fleet"))
    lab = tmp_path / "inventories" / "lab.yml"
    text = (
        lab.read_text().replace("203.0.113.", "198.18.7.").replace("name: lab", f"name: readme{os.getpid()}")
    )
    lab.write_text(text)
    try:
        for command in commands:
            done = subprocess.run(
                command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    finally:
        subprocess.run([ROOT / ".venv/bin/fleet", "lab", "down", lab], cwd=tmp_path, timeout=120)


def test_the_two_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
