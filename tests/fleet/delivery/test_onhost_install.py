"""What runs on a host to install a release, here in a folder: whole or not at all."""

from __future__ import annotations

import ast
import errno
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from fleet.delivery.onhost import boot, install
from tests.fleet.delivery.made import DIGEST, tar_gz

OTHER = "cd" * 32
CONTENTS = {"agent/cli.py": b"print()\n", "bin/fleet-agent": b"#!/bin/sh\n"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "fleet-agent"


def run(root: Path, data: bytes, digest: str = DIGEST) -> set[str]:
    return install.install(root, digest, io.BytesIO(data))


def state(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def test_a_release_is_unpacked_and_current(root: Path) -> None:
    assert run(root, tar_gz(CONTENTS)) == {DIGEST}
    assert (root / "current").readlink() == Path("releases") / DIGEST
    assert (root / "current/agent/cli.py").read_bytes() == b"print()\n"
    assert (root / "current/bin/fleet-agent").stat().st_mode & 0o777 == 0o755
    assert (root / "current/agent/cli.py").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in (root / "releases").iterdir()] == [DIGEST]


def test_the_release_before_stays_and_older_ones_go(root: Path) -> None:
    digests = [letter * 64 for letter in "abc"]
    for digest in digests:
        install.clean(root, run(root, tar_gz(CONTENTS, digest), digest))
    assert sorted(path.name for path in (root / "releases").iterdir()) == digests[1:]
    assert (root / "current").readlink().name == digests[2]


def test_a_release_that_a_process_runs_stays_until_it_ends(root: Path) -> None:
    """Tunnels go on with the code that they were started with, however many upgrades there are."""
    digests = [letter * 64 for letter in "abc"]
    run(
        root,
        tar_gz({"__main__.py": b"import sys\nprint(flush=True)\nsys.stdin.read()\n"}, digests[0]),
        digests[0],
    )
    program = [sys.executable, "-I", str(root / "releases" / digests[0])]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"  # it runs: until then its command line may be empty
        for digest in digests[1:]:
            install.clean(root, run(root, tar_gz(CONTENTS, digest), digest))
        assert sorted(path.name for path in (root / "releases").iterdir()) == digests
    install.clean(root, {digests[1], digests[2]})
    assert sorted(path.name for path in (root / "releases").iterdir()) == digests[1:]


def test_the_same_release_again_repairs_it(root: Path) -> None:
    run(root, tar_gz(CONTENTS))
    (root / "current/agent/cli.py").unlink()
    assert run(root, tar_gz(CONTENTS)) == {DIGEST}
    assert (root / "current/agent/cli.py").exists()


def test_leftovers_of_broken_tries_go(root: Path) -> None:
    (root / "releases" / f"{OTHER}.tmp" / "agent").mkdir(parents=True)
    (root / "current.tmp").symlink_to("nowhere")
    run(root, tar_gz(CONTENTS))
    assert [path.name for path in (root / "releases").iterdir()] == [DIGEST]
    assert not (root / "current.tmp").is_symlink()


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_that_is_cut_off_changes_nothing(root: Path, seed: int) -> None:
    run(root, tar_gz(CONTENTS))
    before = state(root)
    noise = random.Random(seed).randbytes(3000)
    data = tar_gz({**CONTENTS, "agent/noise.py": noise}, OTHER)
    with pytest.raises((install.InstallError, tarfile.TarError)):
        run(root, data[: random.Random(seed).randrange(len(data) - 20)], OTHER)
    assert state(root) == before
    assert (root / "current").readlink().name == DIGEST


@pytest.mark.parametrize("digest", [None, OTHER])
def test_an_archive_that_does_not_end_as_it_should(root: Path, digest: str | None) -> None:
    with pytest.raises(install.InstallError, match="cut off"):
        run(root, tar_gz(CONTENTS, digest))
    assert state(root) == []


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "agent/../../evil"])
def test_nothing_is_written_outside(root: Path, name: str) -> None:
    with pytest.raises(install.InstallError, match="damaged"):
        run(root, tar_gz({name: b""}))
    assert state(root) == []


def test_two_operators_install_one_after_the_other(root: Path) -> None:
    began, order = threading.Event(), []

    def second() -> None:
        began.set()
        with install.alone(root):
            order.append("second")

    with install.alone(root):
        other = threading.Thread(target=second)
        other.start()
        assert began.wait(10)
        run(root, tar_gz(CONTENTS))
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]


def test_a_folder_that_others_may_write(root: Path) -> None:
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(install.InstallError, match="chown root:root"):
        run(root, tar_gz(CONTENTS))


def test_a_full_disk_leaves_what_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(root, tar_gz(CONTENTS))
    before = state(root)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space") as caught:
        run(root, tar_gz(CONTENTS, OTHER), OTHER)
    assert state(root) == before
    assert "no space left" in install.explain(caught.value, root)
    assert "read-only" in install.explain(OSError(errno.EROFS, ""), root)


def test_libraries_that_do_not_fit_the_host(root: Path) -> None:
    with pytest.raises(install.InstallError, match="do not fit this host"):
        run(root, tar_gz({**CONTENTS, "nacl/_sodium.abi3.so": b"\x7fELF of another machine"}))
    assert state(root) == []


@pytest.mark.parametrize("module", [install, boot])
def test_it_needs_the_standard_library_of_an_old_python_alone(module: object) -> None:
    """And what sets it up, the agent's names for places, which are in the release too."""
    file = Path(str(module.__file__))  # type: ignore[attr-defined]
    tree = ast.parse(file.read_text(), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        )
    }
    assert imported - ({"agent"} if module is boot else set()) <= set(sys.stdlib_module_names)


def test_it_runs_in_an_isolated_python(root: Path) -> None:
    program = (
        f"import sys; sys.argv = ['']; import runpy; m = runpy.run_path({install.__file__!r});"
        f"from pathlib import Path; print(m['install'](Path({str(root)!r}), {DIGEST!r}, sys.stdin.buffer))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], input=tar_gz(CONTENTS), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (root / "current/agent/cli.py").exists()
