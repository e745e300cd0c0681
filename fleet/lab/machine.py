"""A node is born: a process with namespaces of its own, a root of its own, and then its init.

Job: `spawn` forks pid 1 of a new pid namespace; it tells when its network namespace exists, puts its root
together, waits until it is wired, and becomes /sbin/init. Until then it dies with the process that made it,
so that a crash leaves nothing half-made. Refuses to know about wires. Called by `build`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fleet.lab import files, syscalls
from fleet.lab.enter import PATH
from fleet.lab.layout import Node
from fleet.lab.processes import mark
from fleet.lab.record import Place, write_private
from fleet.lab.syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    mount,
)

CREATED, WIRED = b"created", b"wired"
_DEVICES = {  # Documentation/admin-guide/devices.txt of the kernel
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
    "ptmx": (5, 2),
    "net/tun": (10, 200),
}
_SHARED_MEMORY, _TEMPORARY = "/dev/shm", "/tmp"  # noqa: S108 - the node's own, empty
_INIT = Path(__file__).with_name("init")
_MESSAGE = 4096


@dataclass(frozen=True)
class Birth:
    """A node that is being made: its pid here, and the channel to it (one message a packet)."""

    node: Node
    pid: int
    channel: socket.socket

    def receive(self) -> bytes:
        """Its next message; b"" where it is gone."""
        return self.channel.recv(_MESSAGE)


def spawn(node: Node, place: Place, lab_id: str, volumes: Sequence[str]) -> Birth:
    """Starts a node and returns at once. Raises OSError where there can be no new namespace."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.unshare(syscalls.CLONE_NEWPID)  # the next child is pid 1
        pid = os.fork()
        if pid == 0:
            _be_born(node, place, lab_id, volumes, its.fileno())
        syscalls.setns(own, syscalls.CLONE_NEWPID)
    finally:
        os.close(own)
    its.close()
    return Birth(node, pid, ours)


def _be_born(node: Node, place: Place, lab_id: str, volumes: Sequence[str], channel: int) -> NoReturn:
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        channel = _detach(node, place, channel)
        syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS)
        syscalls.set_hostname(node.hostname)
        root = _build_root(node, place, volumes)
        os.write(channel, CREATED)
        _write_files(node, place, root)
        if os.read(channel, _MESSAGE) != WIRED:
            os._exit(1)
        syscalls.enter_root(str(root))
        os.chdir("/")
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that would be inherited
        environ = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}
        syscalls.die_with_parent(0)
        os.execve(  # noqa: S606 - there is no shell to want
            "/sbin/init",
            ["/sbin/init", mark(lab_id, node.name), "sshd" if node.ssh_port else "-"],
            environ,
        )
    except BaseException as error:
        os.write(channel, f"{type(error).__name__}: {error}".encode()[:_MESSAGE])
    finally:
        os._exit(1)


def _detach(node: Node, place: Place, channel: int) -> int:
    """A session of its own, no file of the parent's but the channel, output to the node's log."""
    os.setsid()
    os.umask(0o022)
    log = place.host(node.name) / "log" / "boot.log" if node.kind == "host" else Path(os.devnull)
    null = os.open(os.devnull, os.O_RDWR)
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    moved, null, out = (
        fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3) for descriptor in (channel, null, out)
    )
    for standard, descriptor in enumerate((null, out, out)):
        os.dup2(descriptor, standard)
    os.closerange(3, moved)
    os.closerange(moved + 1, os.sysconf("SC_OPEN_MAX"))
    return moved


def _build_root(node: Node, place: Place, volumes: Sequence[str]) -> Path:
    """This machine's root under a layer of the node's own, on a mount point that only the node sees."""
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    stage = str(place.stage)
    mount("lab", stage, "tmpfs", 0, "mode=755")
    os.chdir(stage)  # relative names: nothing in the path can break the options
    for name in ("upper", "work", "root"):
        Path(name).mkdir()
    mount("lab", "root", "overlay", 0, "lowerdir=/,upperdir=upper,workdir=work")
    root = place.stage / "root"
    for volume in volumes:
        if Path(volume).is_dir() and Path(f"{root}{volume}").is_dir():
            _bind(volume, root, volume, read_only=True)
    _own_mounts(root)
    if node.kind == "host":
        _persistent(place.host(node.name), root)
    else:
        mount("lab", f"{root}/root", "tmpfs", MS_NOSUID | MS_NODEV, "mode=700")
    hidden = Path(f"{root}{place.hidden}")
    if hidden.is_dir():
        mount("lab", str(hidden), "tmpfs", MS_NOSUID | MS_NODEV, "mode=700")
    _set_sysctls(root / "proc/sys/net", node.forwards)
    return root


def _own_mounts(root: Path) -> None:
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", f"{root}/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("lab", f"{root}/dev", "tmpfs", MS_NOSUID, "mode=755")
    for name in ("pts", "shm", "net"):
        (root / "dev" / name).mkdir()
    for name, (major, minor) in _DEVICES.items():
        os.mknod(root / "dev" / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        (root / "dev" / name).chmod(0o666)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (root / "dev" / name).symlink_to(f"/proc/self/fd/{number}")
    (root / "dev/fd").symlink_to("/proc/self/fd")
    # this machine's terminals: a shell that was opened from here finds its own by name
    mount("/dev/pts", f"{root}/dev/pts", "", MS_BIND)
    mount("lab", f"{root}{_SHARED_MEMORY}", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount("lab", f"{root}/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    mount("lab", f"{root}{_TEMPORARY}", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    (root / "run/sshd").mkdir()
    (root / "run/lock").mkdir()
    (root / "run/lock").chmod(0o1777)


def _persistent(source: Path, root: Path) -> None:
    for name, target in (
        ("opt", "/opt"),
        ("fleet-agent", "/var/lib/fleet-agent"),
        ("root", "/root"),
        ("home", "/home"),
        ("log", "/var/log"),
    ):
        Path(f"{root}{target}").mkdir(parents=True, exist_ok=True)
        _bind(str(source / name), root, target)
    rc_local = root / "etc/rc.local"
    if not rc_local.exists():
        rc_local.touch(0o755)
    _bind(str(source / "rc.local"), root, "/etc/rc.local")


def _bind(source: str, root: Path, target: str, read_only: bool = False) -> None:
    mount(source, f"{root}{target}", "", MS_BIND)
    if read_only:
        mount("none", f"{root}{target}", "", MS_BIND | MS_REMOUNT | MS_RDONLY)


def _set_sysctls(net: Path, forwards: bool) -> None:
    """A new namespace copies this machine's IPv4 settings: set to what the kernel itself begins with."""
    (net / "ipv4/ip_forward").write_text(f"{forwards:d}")
    for name in ("all", "default"):
        (net / "ipv4/conf" / name / "rp_filter").write_text("0")
        six = net / "ipv6/conf" / name
        if six.is_dir():
            (six / "disable_ipv6").write_text("0")
            (six / "accept_dad").write_text("0")
            (six / "forwarding").write_text(f"{forwards:d}")


def _write_files(node: Node, place: Place, root: Path) -> None:
    etc = root / "etc"
    _write(etc / "hostname", f"{node.hostname}\n")
    _write(etc / "hosts", files.hosts(node))
    _write(etc / "resolv.conf", "# a lab has no name service, see /etc/hosts\n")
    _write(root / "sbin/init", _INIT.read_text(), 0o755)
    if node.ssh_port is None:
        return
    texts = [(etc / name).read_text() for name in ("passwd", "shadow", "group")]
    accounts = files.accounts(texts[0], texts[1], texts[2], node.users)
    _write(etc / "passwd", accounts.passwd)
    _write(etc / "shadow", accounts.shadow, 0o600)
    _write(etc / "group", accounts.group)
    for home, uid, gid in accounts.homes:
        folder = Path(f"{root}{home}")
        folder.mkdir(exist_ok=True, mode=0o700)
        os.chown(folder, uid, gid)
    (etc / "sudoers.d").mkdir(exist_ok=True)
    _write(etc / "sudoers.d/lab", files.sudoers(node.users), 0o440)
    mount("lab", str(etc / "ssh"), "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    _write(etc / "ssh/sshd_config", files.sshd_config(node.ssh_port))
    _write(etc / "ssh/authorized_keys", (place.folder / "key.pub").read_text())
    shutil.copyfile(
        place.host(node.name) / "ssh_host_ed25519_key", _private(etc / "ssh/ssh_host_ed25519_key")
    )


def _private(file: Path) -> Path:
    write_private(file, "")
    return file


def _write(file: Path, text: str, mode: int = 0o644) -> None:
    """Replaces the file, also where it is a link that leads elsewhere."""
    file.unlink(missing_ok=True)
    write_private(file, text, mode)
