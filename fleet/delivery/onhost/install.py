"""Runs on a host, as root: unpacks the agent's release from standard input and makes it the current one.

Job: ROOT/releases/DIGEST is whole or absent, ROOT/current switches at once, leftovers of broken tries
go, and so do releases but for the one before and those that a process runs (tunnels outlive upgrades).
Prints one JSON object: {"ok": true, "notes": [...]} or {"ok": false, "error": SENTENCE}. Sent as text by
`fleet.delivery.install`, so it imports the standard library only, Python 3.9. Arguments: ROOT DIGEST BOOT.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


class InstallError(Exception):
    """A sentence with the cure."""


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Waits until nobody else installs here: a host may be in fleets of several operators."""
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def prepare(root: Path) -> Path:
    """ROOT/releases, ours alone to write, without what earlier tries left behind."""
    releases = root / "releases"
    releases.mkdir(mode=0o755, parents=True, exist_ok=True)
    if os.statvfs(releases).f_flag & os.ST_NOEXEC:
        raise InstallError(f"{root} is mounted noexec, and the agent runs from there: mount it with exec")
    for folder in (root, releases):
        found = folder.stat()
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
            raise InstallError(
                f"{folder} belongs to somebody else or is writable for others: what root runs must not be. "
                f"Run: chown root:root {folder} && chmod 755 {folder}"
            )
    for leftover in [*releases.glob("*.tmp"), *root.glob("*.tmp")]:
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    return releases


def unpack(stream: BinaryIO, digest: str, place: Path) -> None:
    """The files of a tar.gz in the new folder `place`, on disk when it returns; RELEASE comes last."""
    place.mkdir(mode=0o755)
    last = ""
    with tarfile.open(fileobj=stream, mode="r|gz") as tar:
        for entry in tar:
            target = place / entry.name
            source = tar.extractfile(entry) if entry.isreg() else None
            if source is None or ".." in target.parts or place not in target.parents:
                raise InstallError(f"the release is damaged: it has an entry {entry.name!r}")
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with target.open("xb") as file:
                shutil.copyfileobj(source, file)
                os.fchmod(file.fileno(), entry.mode & 0o755)
            last = entry.name
    if last != "RELEASE" or (place / last).read_text().strip() != digest:
        raise InstallError("the release was cut off on its way: apply again")
    flush(place)


def check(release: Path) -> None:
    """That what is compiled in the release fits this host. Raises InstallError."""
    try:
        for library in sorted(release.rglob("*.so")):
            ctypes.CDLL(str(library), mode=os.RTLD_LAZY)
    except OSError as error:
        raise InstallError(f"the agent's libraries do not fit this host: {error}") from None


def switch(root: Path, release: Path) -> None:
    """`current` is the new release from one moment to the next."""
    link = root / "current.tmp"
    link.symlink_to(Path("releases") / release.name)
    link.replace(root / "current")
    flush(root)


def clean(root: Path, keep: set[str]) -> None:
    """Old releases go; those named in `keep`, and those that a process runs, stay."""
    running = commands()
    for release in (root / "releases").iterdir():
        if release.name not in keep and os.fsencode(release) not in running:
            shutil.rmtree(release, ignore_errors=True)


def commands() -> set[bytes]:
    """Every word of the command lines of this host's processes: the launcher has the release's path in it."""
    words: set[bytes] = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            words.update(file.read_bytes().split(b"\0"))
    return words


def flush(folder: Path) -> None:
    """The file system of `folder` is on disk (syncfs(2)): once is quicker than for hundreds of files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


def install(root: Path, digest: str, stream: BinaryIO) -> set[str]:
    """Unpacks, checks and switches; the names of the releases worth keeping."""
    releases = prepare(root)
    current = root / "current"
    before = current.readlink().name if current.is_symlink() else digest
    place, tmp = releases / digest, releases / f"{digest}.tmp"
    try:
        unpack(stream, digest, tmp)
        check(tmp)
        if place.exists():
            place.rename(releases / f"{digest}.old.tmp")
        tmp.rename(place)
        switch(root, place)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise
    shutil.rmtree(releases / f"{digest}.old.tmp", ignore_errors=True)
    return {digest, before}


def explain(error: OSError, root: Path) -> str:
    """What a failed write means, with the cure."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left for the agent in {root}; nothing was changed: free some and apply again"
    if error.errno == errno.EROFS:
        return f"{root} is mounted read-only: mount it writable, or put a writable folder there"
    return f"the agent cannot be installed in {root}: {error.strerror or error} ({error.filename})"


def boot(root: Path, kind: str) -> list[str]:
    """Starts the agent, now and at boot; its notes. Raises InstallError."""
    command = [sys.executable, "-I", str(root / "current" / "setup" / "boot.py"), kind]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it does not say why"])[-1]
        raise InstallError(f"the agent is installed but does not start: {last}")
    return done.stdout.splitlines()


def main() -> int:
    """Prints the answer; exit code 0 where all went well."""
    root, digest, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    os.umask(0o022)
    try:
        with alone(root):
            keep = install(root, digest, sys.stdin.buffer)
            notes = boot(root, kind)
            clean(root, keep)
        answer = {"ok": True, "notes": notes}
    except InstallError as error:
        answer = {"ok": False, "error": str(error)}
    except OSError as error:
        answer = {"ok": False, "error": explain(error, root)}
    except tarfile.TarError:
        answer = {"ok": False, "error": "the release was cut off on its way: apply again"}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0 if answer["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
