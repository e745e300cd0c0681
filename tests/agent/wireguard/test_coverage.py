"""The tests in this folder take every branch of the protocol core, those that choose at random left out:
what only chance covers is not covered tomorrow.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_every_branch_of_the_core_is_taken(tmp_path: Path) -> None:
    """In a process of its own: what is imported already cannot be measured any more."""

    data = f"--data-file={tmp_path / 'coverage'}"
    folder = "tests/agent/wireguard"
    tests = ["pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not hypothesis", folder]
    tests.append(f"--ignore={folder}/test_world.py")
    ran = _coverage("run", data, "--branch", "--source=agent/wireguard", "-m", *tests)
    assert ran.returncode == 0, ran.stdout
    report = _coverage("report", data, "--show-missing", "--skip-covered", "--fail-under=100")
    assert report.returncode == 0, report.stdout
    assert "100%" in report.stdout


def _coverage(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "coverage", *arguments]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
