"""Facts, wheels and archives for tests of delivery."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from fleet.delivery.facts import Facts, Python
from fleet.delivery.wheels import Wheel
from fleet.transport.base import Completed

DIGEST = "ab" * 32


def python(**values: Any) -> Python:
    """Debian 12's, unless `values` say otherwise."""
    base: dict[str, Any] = {
        "path": "/usr/bin/python3",
        "version": (3, 11, 2),
        "kind": "cpython",
        "bits": 64,
        "libc": "glibc",
        "libc_version": (2, 36),
        "modules": frozenset(),
    }
    return Python(**{**base, **values})


def facts(**values: Any) -> Facts:
    """A Debian 12 host without WireGuard, without an agent."""
    base: dict[str, Any] = {
        "machine": "x86_64",
        "python": python(),
        "old_python": None,
        "boot": "systemd",
        "wireguard": False,
        "free_opt": 1 << 30,
        "free_var": 1 << 30,
        "clock": 1.7e9,
    }
    return Facts(**{**base, **values})


def wheel(folder: Path, file: str, contents: dict[str, bytes]) -> tuple[Wheel, Path]:
    """A wheel of our own making."""
    path = folder / file
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return Wheel(file, hashlib.sha256(path.read_bytes()).hexdigest()), path


def tar_gz(contents: dict[str, bytes], digest: str | None = DIGEST) -> bytes:
    """A release's archive; `digest` None leaves RELEASE out."""
    plain = io.BytesIO()
    if digest is not None:
        contents = {**contents, "RELEASE": f"{digest}\n".encode()}
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(plain.getvalue())


class FakeTransport:
    """Answers from a list and keeps what it was asked; `host` is fra1."""

    host = "fra1"
    timeout = 5.0

    def __init__(self, *answers: Completed) -> None:
        self.answers = list(answers)
        self.commands: list[str] = []
        self.inputs: list[bytes] = []

    def run(self, command: str, *, stdin: bytes = b"", timeout: float) -> Completed:
        assert timeout > 0
        self.commands.append(command)
        self.inputs.append(stdin)
        return self.answers.pop(0)

    def close(self) -> None:
        """Nothing to end."""
