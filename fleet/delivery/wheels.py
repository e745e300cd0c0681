"""Which wheels fit a host: from the lock file and what the host said of its Python. Pure.

Refuses to know how wheels are had. Called by `fleet.delivery.release`; the lock is made by
scripts/lock-wheels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from fleet.delivery.facts import Python

MODULES = {"pyroute2": "pyroute2", "nacl": "pynacl", "cryptography": "cryptography"}
"""What the agent imports, and the distribution that brings it."""
_NEEDS = {"pynacl": ("cffi",), "cryptography": ("cffi",)}
_MACHINES = ("x86_64", "aarch64")


@dataclass(frozen=True, order=True)
class Wheel:
    """One wheel: its file name and SHA-256, hexadecimal."""

    file: str
    sha256: str

    @property
    def distribution(self) -> str:
        """The canonical name of what it installs."""
        return str(parse_wheel_filename(self.file)[0])

    @property
    def version(self) -> str:
        """The version of what it installs."""
        return str(parse_wheel_filename(self.file)[1])

    @property
    def tags(self) -> frozenset[Tag]:
        """What it fits."""
        return parse_wheel_filename(self.file)[3]


def choose(locked: Iterable[Wheel], module: str, machine: str, python: Python) -> tuple[Wheel, ...] | None:
    """The wheels that give a host `module` with all it needs, the best fit of each; None where one lacks."""
    distribution = MODULES[module]
    wanted = [distribution, *_NEEDS.get(distribution, ())]
    if distribution == "cryptography" and python.version < (3, 11):
        wanted.append("typing-extensions")
    ranks = {tag: rank for rank, tag in reversed(list(enumerate(_tags(machine, python))))}
    chosen = []
    known = tuple(locked)
    for name in wanted:
        fitting = [
            (min(ranks[tag] for tag in wheel.tags & ranks.keys()), wheel)
            for wheel in known
            if wheel.distribution == name and wheel.tags & ranks.keys()
        ]
        if not fitting:
            return None
        chosen.append(min(fitting)[1])
    return tuple(chosen)


def parse_lock(text: str) -> tuple[Wheel, ...]:
    """The wheels of a lock file. Raises ValueError for a line that is none."""
    wheels = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        file, _, digest = line.partition(" ")
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError(f"not a line of a lock file: {line!r}")
        parse_wheel_filename(file)
        wheels.append(Wheel(file, digest))
    return tuple(wheels)


@cache
def locked_wheels() -> tuple[Wheel, ...]:
    """The wheels of our own lock file."""
    return parse_lock(files("fleet.delivery").joinpath("wheels.lock").read_text())


def _tags(machine: str, python: Python) -> Iterator[Tag]:
    """What the host's Python takes, best first: CPython's tags where it is one of ours, pure ones always."""
    version = python.version[:2]
    platforms = list(_platforms(machine, python))
    fits = python.kind == "cpython" and python.bits == 64 and machine in _MACHINES
    if fits and platforms:  # an empty list would mean those of this machine
        yield from cpython_tags(version, abis=[f"cp{version[0]}{version[1]}"], platforms=platforms)
    yield from compatible_tags(version, interpreter=None, platforms=["any"])


def _platforms(machine: str, python: Python) -> Iterator[str]:
    """Platform tags by their libc's number (PEP 600, PEP 656), the newest first."""
    major, minor = python.libc_version
    kind, lowest = ("manylinux", 17) if python.libc == "glibc" else ("musllinux", 0)
    for number in range(minor, lowest - 1, -1):
        yield f"{kind}_{major}_{number}_{machine}"
