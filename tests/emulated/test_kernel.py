"""Every test that is marked `kernel`, in an emulated machine whose kernel has WireGuard; none is skipped.

One machine for each file of tests. By hand:
`.venv/bin/python -m tests.emulated .venv/bin/python -m pytest -m kernel FILE`
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fleet.delivery.fetch import cache_folder, fetch
from fleet.delivery.release import Release, plan
from tests.emulated.machine import run
from tests.fleet.delivery.made import facts

ROOT = Path(__file__).parent.parent.parent
MARKS = ("mark.kernel", "tests.lab.test_host import KERNEL")
"""What a file with a test that needs WireGuard in the kernel says."""
FILES = sorted(
    str(file.relative_to(ROOT))
    for file in (ROOT / "tests").rglob("test_*.py")
    if any(mark in file.read_text() for mark in MARKS) and file != Path(__file__)
)
LIMIT = 900
"""Seconds for a file: several times what it takes, for a machine that does other things besides."""

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(2 * LIMIT + 60)]


@pytest.fixture(scope="module")
def wheels() -> None:
    """What an apply sends to a Debian host is in this machine's cache: an emulated machine has no network."""
    for userspace in (False, True):
        release = plan(facts(), userspace)
        assert isinstance(release, Release)
        fetch(release.wheels, (3, 11, 2), cache_folder(os.environ, Path.home()))


@pytest.mark.usefixtures("wheels")
@pytest.mark.parametrize("file", FILES)
def test_in_an_emulated_machine(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    pytest_ = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "pytest_timeout",
        "-p",
        "no:cacheprovider",
        f"--timeout={LIMIT}",
    ]
    done = run(
        [*pytest_, "-m", "kernel", "--durations=5", "--junit-xml=/share/report.xml", file],
        tmp_path,
        environment={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        limit=LIMIT,
    )
    print(done.output)
    assert done.status == 0, f"{done.output}\n{done.console[-2000:]}"
    (suite,) = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert int(suite.attrib["tests"]) > 0
    assert suite.attrib["skipped"] == "0", done.output
