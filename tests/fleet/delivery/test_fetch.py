"""Wheels come from the cache or through pip, and never with other bytes than the lock says."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.delivery.fetch import cache_folder, fetch
from fleet.delivery.wheels import Wheel
from fleet.errors import FleetError
from tests.fleet.delivery.made import wheel

FILE = "fleetexample-1.0-py3-none-any.whl"
METADATA = {
    "fleetexample.py": b"",
    "fleetexample-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: fleetexample\nVersion: 1.0\n",
    "fleetexample-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "fleetexample-1.0.dist-info/RECORD": b"",
}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is a folder, and no other."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_a_wheel_is_downloaded_once(index: Path, tmp_path: Path) -> None:
    wanted, source = wheel(index, FILE, METADATA)
    cache = tmp_path / "cache"
    told: list[str] = []
    found = fetch([wanted], (3, 9, 2), cache, told.append)
    assert told == ["downloading fleetexample 1.0 for the hosts"]
    assert found == {wanted: cache / FILE}
    assert (cache / FILE).read_bytes() == source.read_bytes()
    assert cache.stat().st_mode & 0o777 == 0o700
    source.unlink()
    assert fetch([wanted], (3, 9, 2), cache, told.append) == found
    assert len(told) == 1
    assert [path.name for path in cache.iterdir()] == [FILE]


def test_a_damaged_file_in_the_cache_is_replaced(index: Path, tmp_path: Path) -> None:
    wanted, source = wheel(index, FILE, METADATA)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / FILE).write_bytes(b"half")
    fetch([wanted], (3, 12, 0), cache)
    assert (cache / FILE).read_bytes() == source.read_bytes()


def test_other_bytes_are_refused(index: Path, tmp_path: Path) -> None:
    wheel(index, FILE, METADATA)
    with pytest.raises(FleetError, match=r"cannot download fleetexample 1\.0") as caught:
        fetch([Wheel(FILE, "0" * 64)], (3, 11, 0), tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_an_index_the_error_says_what_to_do(index: Path, tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="PIP_INDEX_URL"):
        fetch([Wheel(FILE, "0" * 64)], (3, 11, 0), tmp_path / "cache")


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FleetError, match="XDG_CACHE_HOME"):
        fetch([Wheel(FILE, "0" * 64)], (3, 11, 0), tmp_path / "file" / "cache")


def test_where_the_cache_is() -> None:
    home = Path("/home/ops")
    assert cache_folder({}, home) == home / ".cache/fleet/wheels"
    assert cache_folder({"XDG_CACHE_HOME": "/big"}, home) == Path("/big/fleet/wheels")
    assert cache_folder({"XDG_CACHE_HOME": "relative"}, home) == home / ".cache/fleet/wheels"
