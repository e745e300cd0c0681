"""A real sshd for tests, on 127.0.0.1 and a free port, with host key and login key of its own.

With `private` folders it runs in a mount namespace where those are empty tmpfs: a host of its own, as far
as files go. Called by the tests of transport and delivery.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SSHD = Path("/usr/sbin/sshd")


@dataclass(frozen=True)
class Sshd:
    """A running sshd: where it is, what logs in (`key_file`), who it is (`known_hosts`), its process."""

    port: int
    key_file: Path
    known_hosts: Path
    process: subprocess.Popen[bytes]
    folder: Path


@contextmanager
def sshd(folder: Path, *, script: str = "", options: tuple[str, ...] = ()) -> Iterator[Sshd]:
    """Starts one with its files in `folder`; `script` runs before it, in its own mount namespace."""
    for name in ("host", "login"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port = free_port()
    lines = [
        f"ListenAddress 127.0.0.1:{port}",
        f"HostKey {folder}/host",
        f"AuthorizedKeysFile {folder}/login.pub",
        f"PidFile {folder}/pid",
        "PermitRootLogin prohibit-password",
        "UsePAM no",
        "UseDNS no",
        "StrictModes no",
        "MaxStartups 100:30:200",
        "MaxSessions 50",
        "PrintMotd no",
        *options,
    ]
    (folder / "config").write_text("\n".join(lines) + "\n")
    kind, key, *_ = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    Path("/run/sshd").mkdir(exist_ok=True)
    begin = f"""set -e
mount --make-rprivate /
mount --bind /dev/null "$HOME/.bashrc" 2>/dev/null || true
{script}
exec {SSHD} -D -e -f {shlex.quote(str(folder / "config"))}
"""
    log = (folder / "log").open("wb")
    process = subprocess.Popen(["unshare", "-m", "/bin/sh", "-c", begin], stdout=log, stderr=log)
    try:
        _wait_for(port, process, folder / "log")
        yield Sshd(port, folder / "login", folder / "known_hosts", process, folder)
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"sshd does not run: {log.read_text()}")
