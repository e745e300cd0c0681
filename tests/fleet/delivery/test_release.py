"""What a release is made of, and that its digest tells."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.delivery.manifest import from_text, own
from fleet.delivery.release import Release, archive, plan
from tests.fleet.delivery.made import DIGEST, facts, python, wheel


def planned(**values: object) -> Release:
    found = plan(facts(**values), userspace=True)
    assert isinstance(found, Release)
    return found


def names(release: Release) -> list[str]:
    return [wheel.distribution for wheel in release.wheels]


def test_the_tunnel_needs_more_than_the_kernel() -> None:
    kernel = plan(facts(), userspace=False)
    assert isinstance(kernel, Release)
    assert names(kernel) == ["pyroute2"]
    userspace = planned()
    assert names(userspace) == ["cffi", "cryptography", "pynacl", "pyroute2"]
    assert kernel.digest != userspace.digest
    assert kernel.space < userspace.space


def test_the_digest_is_that_of_the_contents() -> None:
    same = [planned(), planned(boot="cron"), planned(python=python(version=(3, 11, 9)))]
    assert len({release.digest for release in same}) == 1
    other = [
        planned(machine="aarch64"),
        planned(python=python(version=(3, 12, 0))),
        planned(python=python(path="/usr/local/bin/python3")),
        planned(python=python(libc="musl", libc_version=(1, 2))),
    ]
    assert len({release.digest for release in [*same, *other]}) == 5


def test_modules_of_the_distribution_are_the_fallback() -> None:
    own = python(version=(3, 15, 0), modules=frozenset({"nacl", "cryptography"}))
    found = planned(python=own)
    assert names(found) == ["pyroute2"]
    assert found.borrowed == ("nacl", "cryptography")
    everything = python(modules=frozenset({"nacl", "cryptography", "pyroute2"}))
    assert planned(python=everything).borrowed == ()
    borrowed = plan(facts(python=everything), userspace=True, borrow=True)
    assert isinstance(borrowed, Release)
    assert borrowed.wheels == ()


@pytest.mark.parametrize(
    ("values", "cure"),
    [
        ({"python": None}, "there is no python3: install"),
        ({"python": None, "old_python": "3.6.8"}, "its Python is 3.6.8: install Python 3.9 or newer"),
        ({"lacks": ("asyncio", "json")}, r"lacks .*asyncio, json.*apt-get install python3"),
        ({"machine": "riscv64"}, "no wheel of pynacl .*riscv64.*python3-nacl"),
    ],
)
def test_a_host_that_cannot_run_the_agent(values: dict[str, object], cure: str) -> None:
    found = plan(facts(**values), userspace=True)
    assert isinstance(found, str)
    import re

    assert re.search(cure, found)


def test_an_archive_has_everything_at_its_place(tmp_path: Path) -> None:
    made, path = wheel(
        tmp_path,
        "example-1.0-py3-none-any.whl",
        {
            "example/__init__.py": b"x = 1\n",
            "example-1.0.data/purelib/more.py": b"y = 2\n",
            "example-1.0.data/scripts/run": b"#!python\n",
        },
    )
    release = Release(DIGEST, "/usr/bin/python3", (made,), (), 1, own(userspace=True))
    packed = archive(release, ((made, path),))
    assert packed is archive(release, ((made, path),))
    moved = path.rename(tmp_path / "moved.whl")
    assert packed == archive(release, ((made, moved),))
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        entries = {entry.name: entry for entry in tar.getmembers()}
        texts = {name: (tar.extractfile(name) or io.BytesIO()).read().decode() for name in entries}
    assert list(entries)[-1] == "RELEASE"
    assert texts["RELEASE"] == f"{DIGEST}\n"
    assert from_text(texts["MANIFEST"]) == own(userspace=True)
    assert {"example/__init__.py", "more.py", "agent/bundle.py", "agent/wireguard/__init__.py"} <= set(texts)
    assert not [name for name in texts if "scripts" in name or "__pycache__" in name]
    assert entries["bin/fleet-agent"].mode == 0o755
    assert texts["bin/fleet-agent"] == (
        f'#!/bin/sh\nexec /usr/bin/python3 -I /opt/fleet-agent/releases/{DIGEST} "$@"\n'
    )
    assert all(entry.uid == 0 and entry.mtime == 0 and entry.isreg() for entry in entries.values())


def test_a_wheel_with_files_outside_of_itself(tmp_path: Path) -> None:
    made, path = wheel(tmp_path, "example-1.0-py3-none-any.whl", {"../evil.py": b""})
    release = replace(planned(), wheels=(made,))
    with pytest.raises(ValueError, match="evil"):
        archive(release, ((made, path),))
