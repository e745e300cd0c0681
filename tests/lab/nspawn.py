"""Hosts that systemd runs: Debian in a container of systemd-nspawn, with a real boot, sshd and reboot.

Job: have Debian's files once on this machine (downloaded a single time, kept in the user's cache), boot a
host from them in a network namespace, end it. What a host writes is its own, lives in memory and outlives
its reboots. Refuses to know what is tested. Called by test_systemd.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from tests.lab.namespaces import Namespace, wait_until

SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,openssh-server,python3,iproute2,procps,iputils-ping"
CAPABILITIES = "CAP_NET_ADMIN,CAP_NET_RAW"
REBOOT = 133
"""How systemd-nspawn, told to keep its unit, ends when the host asks for a reboot."""


@dataclass
class Machine:
    """A host, or the iron of it: its files, as seen from here, are below `folder`/root."""

    folder: Path
    name: str
    space: Namespace
    process: Optional[subprocess.Popen[bytes]] = None

    def boot(self) -> None:
        """Returns once its sshd answers; AssertionError, with its console's end, where it never does."""
        command = ["systemd-nspawn", "--quiet", "--boot", f"--directory={self.folder}/root"]
        command += [f"--machine={self.name}", "--register=no", "--keep-unit", "--console=pipe"]
        command += [f"--bind={self._tun()}:/dev/net/tun", f"--capability={CAPABILITIES}"]
        command += [f"--network-namespace-path=/run/netns/{self.space.name}"]
        quirks = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
        console = self.folder / "console"
        with console.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **quirks}
            )
        self.process = process
        wait_until(
            lambda: answers(self.space) or process.poll() is not None, f"sshd of {self.name}", limit=60
        )
        assert process.poll() is None, f"{self.name}: {console.read_text(errors='replace')[-2000:]}"

    def _tun(self) -> Path:
        """The device as devtmpfs has it, whatever its mode is here."""
        node = self.folder / "tun"
        if not node.exists():
            os.mknod(node, stat.S_IFCHR | 0o666, Path("/dev/net/tun").stat().st_rdev)
            node.chmod(0o666)
        return node

    def reset(self) -> None:
        """Waits for the reset that a reboot ends with, and boots."""
        assert self.process is not None
        assert self.process.wait(60) == REBOOT
        self.boot()

    def end(self) -> None:
        if self.process is None:
            return
        self.process.terminate()  # an orderly end, which takes a moment
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


def debian() -> Path:
    """Debian's files, to be read only; made where they are not there yet, which takes a minute."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fleet-tests"
    cache.mkdir(parents=True, exist_ok=True)
    name = f"{SUITE}-{hashlib.sha256(PACKAGES.encode()).hexdigest()[:12]}"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found, made = cache / name, cache / f"{name}.tmp"
        if not found.is_dir():
            shutil.rmtree(made, ignore_errors=True)
            with _memory(cache / f"{name}.memory", "1500m") as folder:  # dpkg flushes every file
                root = folder / "root"
                _run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root), limit=280)
                (root / "etc/hostname").unlink(missing_ok=True)
                shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
                _run("cp", "-a", str(root), str(made))
            made.rename(found)
    return found


def host_key() -> str:
    """The key that every host's sshd shows: type and base64."""
    return " ".join((debian() / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2])


@contextmanager
def booted(folder: Path, name: str, space: Namespace, login_key: Path) -> Iterator[Machine]:
    """A host in `space`, with its files in `folder`, that lets the owner of `login_key` in as root."""
    lower = debian()
    with _memory(folder, "1g"):
        for part in ("upper", "work", "root"):
            (folder / part).mkdir()
        layers = f"lowerdir={lower},upperdir={folder}/upper,workdir={folder}/work"
        _run("mount", "-t", "overlay", "-o", layers, "fleet-test", str(folder / "root"))
        try:
            keys = folder / "root/root/.ssh"
            keys.mkdir(mode=0o700, exist_ok=True)
            shutil.copy(login_key, keys / "authorized_keys")
            (folder / "root/etc/hostname").write_text(f"{name}\n")
            machine = Machine(folder, name, space)
            try:
                machine.boot()
                yield machine
            finally:
                machine.end()
        finally:
            _run("umount", str(folder / "root"))


@contextmanager
def _memory(folder: Path, size: str) -> Iterator[Path]:
    """A folder whose files are in memory, gone at the end."""
    folder.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"mode=755,size={size}", "fleet-test", str(folder))
    try:
        yield folder
    finally:
        _run("umount", str(folder))
        folder.rmdir()


def answers(space: Namespace) -> bool:
    """Whether the host's sshd greets, asked within its own network."""
    greeting = f"exec 3<>/dev/tcp/{space.v4}/22 && head -c4 <&3"
    return space.run("timeout", "2", "bash", "-c", greeting, check=False).stdout == "SSH-"


def _run(*argv: str, limit: float = 60) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit)
    if done.returncode:
        raise AssertionError(f"{' '.join(argv)}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
