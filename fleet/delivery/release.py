"""The agent's release for a kind of host: what is in it, its digest, and the archive that is sent.

Job: `plan` says what a host needs (pure, no wheel is opened: the digest rests on the agent's own files
and on the pinned hashes of the wheels); `archive` packs it. Refuses to know how either travels. Called by
rollout.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from agent.places import INSTALLED, TUNNEL_UNIT, UNIT
from fleet.delivery.facts import Facts, Python
from fleet.delivery.manifest import FILE, Manifest, own, to_text
from fleet.delivery.wheels import MODULES, Wheel, choose, locked_wheels

ROOT = INSTALLED
_ALWAYS = ("pyroute2",)
_USERSPACE = ("nacl", "cryptography")
_LAUNCHER = """#!/bin/sh
exec {python} -I {root}/releases/{digest} "$@"
"""
_MAIN = b"import sys\n\nfrom agent.cli import main\n\nsys.exit(main())\n"
_MIB = 1 << 20
_PACKING = threading.Lock()


@dataclass(frozen=True)
class Release:
    """What runs on a host: `wheels` unpacked beside the agent, `borrowed` modules being the host's own.

    `digest`, SHA-256 in hexadecimal, names it; `python` is the absolute path of the host's interpreter;
    `space` bounds the bytes it takes there; `manifest` is what it says of itself there.
    """

    digest: str
    python: str
    wheels: tuple[Wheel, ...]
    borrowed: tuple[str, ...]
    space: int
    manifest: Manifest


def plan(facts: Facts, userspace: bool, borrow: bool = False) -> Release | str:
    """The release for a host, or why there is none, as a sentence with the cure.

    With `userspace` the host runs our tunnel, which needs more; with `borrow` its own modules go first
    (for want of a wheel they are taken anyhow).
    """
    python = facts.python
    if python is None:
        if facts.old_python is not None:
            return f"its Python is {facts.old_python}: install Python 3.9 or newer as python3 on the host"
        return "there is no python3: install Python 3.9 or newer on the host (apt-get install python3)"
    if facts.lacks:
        return (
            f"its Python lacks parts of the standard library ({', '.join(facts.lacks)}): install the whole "
            "of it (on Debian: apt-get install python3, not just python3-minimal)"
        )
    wheels: set[Wheel] = set()
    borrowed = []
    for module in _ALWAYS + (_USERSPACE if userspace else ()):
        found = None if borrow and module in python.modules else _choose(module, facts.machine, python)
        if found is not None:
            wheels.update(found)
        elif module in python.modules:
            borrowed.append(module)
        else:
            kind = f"{python.kind} {python.version[0]}.{python.version[1]} on {facts.machine}, {python.libc}"
            return (
                f"there is no wheel of {MODULES[module]} for its Python ({kind}): install the distribution's "
                f"python3-{module} there, or a Python from 3.9 to 3.14"
            )
    chosen = tuple(sorted(wheels))
    space = (32 if userspace else 6) * _MIB
    manifest = own(userspace)
    digest = _digest(chosen, tuple(borrowed), python.path, manifest)
    return Release(digest, python.path, chosen, tuple(borrowed), space, manifest)


def archive(release: Release, wheels: tuple[tuple[Wheel, Path], ...]) -> bytes:
    """The release as a tar.gz; RELEASE comes last and tells that nothing is missing. `wheels` have paths.

    Packed once, however many threads ask.
    """
    with _PACKING:
        return _pack(release, wheels)


@lru_cache(maxsize=16)
def _pack(release: Release, wheels: tuple[tuple[Wheel, Path], ...]) -> bytes:
    paths = dict(wheels)
    contents = dict(_own_files())
    for wheel in release.wheels:
        contents.update(_unpacked(paths[wheel]))
    contents[FILE] = to_text(release.manifest).encode()
    contents["RELEASE"] = f"{release.digest}\n".encode()
    contents["bin/fleet-agent"] = _LAUNCHER.format(
        python=release.python, root=ROOT, digest=release.digest
    ).encode()
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(contents, key=lambda name: (name == "RELEASE", name)):
            info = tarfile.TarInfo(name)
            info.size = len(contents[name])
            info.mode = 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(info, io.BytesIO(contents[name]))
    return gzip.compress(plain.getvalue(), compresslevel=4, mtime=0)


@cache
def _own_files() -> Mapping[str, bytes]:
    """Path in the release -> bytes: the agent, its entry point, and what sets it up on the host."""
    contents = {f"agent/{name}": data for name, data in _sources(files("agent"))}
    contents["__main__.py"] = _MAIN
    for name in ("boot.py", UNIT, TUNNEL_UNIT):
        contents[f"setup/{name}"] = files("fleet.delivery.onhost").joinpath(name).read_bytes()
    return contents


def _sources(folder: Traversable, prefix: str = "") -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            found += _sources(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".py"):
            found.append((prefix + entry.name, entry.read_bytes()))
    return found


def _unpacked(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel as an installer lays them out; scripts and data have no place in a release."""
    contents = {}
    with zipfile.ZipFile(wheel) as file:
        for entry in file.infolist():
            parts = PurePosixPath(entry.filename).parts
            if entry.is_dir() or (parts[0].endswith(".data") and parts[1] not in ("purelib", "platlib")):
                continue
            name = "/".join(parts[2:] if parts[0].endswith(".data") else parts)
            if name.startswith("/") or ".." in parts:
                raise ValueError(f"{wheel.name} has a file outside of itself: {entry.filename!r}")
            contents[name] = file.read(entry)
    return contents


@lru_cache(maxsize=64)
def _choose(module: str, machine: str, python: Python) -> tuple[Wheel, ...] | None:
    return choose(locked_wheels(), module, machine, python)


@lru_cache(maxsize=64)
def _digest(wheels: tuple[Wheel, ...], borrowed: tuple[str, ...], python: str, manifest: Manifest) -> str:
    total = hashlib.sha256()
    lines = [_LAUNCHER, python, to_text(manifest), *borrowed]
    lines += [f"{wheel.file} {wheel.sha256}" for wheel in wheels]
    for name, data in sorted(_own_files().items()):
        lines.append(f"{name} {hashlib.sha256(data).hexdigest()}")
    for line in lines:
        total.update(line.encode() + b"\0")
    return total.hexdigest()
