"""The benchmark, as short as it can be: that it works, not how fast anything is."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.figures import FIGURES

pytestmark = [pytest.mark.lab, pytest.mark.slow]

_SHORT = ("--runs", "1", "--seconds", "1", "--idle-seconds", "1", "--peers", "2", "--callers", "10")


def run(output: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "tests.bench", "--output", str(output), *extra)
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def test_every_figure_is_measured_of_both(tmp_path: Path) -> None:
    done = run(tmp_path / "new" / "bench.json", *_SHORT, "--without", "gso")
    assert done.returncode == 0, done.stdout + done.stderr
    saved = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert list(saved["figures"]) == list(FIGURES)
    for figure in saved["figures"].values():
        assert [len(values) for values in figure["runs"].values()] == [1, 1]
        assert all(math.isfinite(value) and value >= 0 for (value,) in figure["runs"].values())
    assert saved["programs"]["ours"]["environment"] == {"FLEET_TUNNEL_WITHOUT": "gso"}
    assert saved["programs"]["against"]["environment"] == {}
    assert (tmp_path / "new" / "bench.txt").read_text() == done.stdout


def test_what_fails_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    """A program that ends at once instead of making a device."""
    done = run(
        tmp_path / "bench.json", *_SHORT, "--only", "idle", "--against", "sh -c 'echo no luck; exit 3'"
    )
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "failed: sh, idle, run 1: sh ended: no luck"
    idle = json.loads((tmp_path / "bench.json").read_text())["figures"]["idle_memory_mbytes"]
    assert idle["medians"]["ours"] > 1
    assert idle["medians"]["against"] is idle["ratio"] is None


def test_a_program_that_is_not_there_is_said_before_anything_runs(tmp_path: Path) -> None:
    done = run(tmp_path / "bench.json", "--against", "no-such-wireguard -f")
    assert done.returncode == 1
    assert done.stderr == "bench: no-such-wireguard is not on this machine; install it\n"
    assert list(tmp_path.iterdir()) == []
