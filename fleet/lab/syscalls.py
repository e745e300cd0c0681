"""The system calls that a namespace needs and Python 3.11 does not offer: mount(2), unshare(2), setns(2) ...

Thin: each raises OSError with what it was about. Called by `machine` and `enter`.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000  # include/uapi/linux/sched.h
CLONE_NEWUTS = 0x04000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1  # include/uapi/linux/mount.h
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
_MNT_DETACH = 0x2
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
# arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h: glibc has no wrapper
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); `kind` and `options` may be empty."""
    _check(
        _libc.mount(
            source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode() or None
        ),
        f"mount {kind or source} on {target}",
    )


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, flag: int) -> None:
    """setns(2): joins the namespace of an open /proc/PID/ns file."""
    _check(_libc.setns(descriptor, flag), "setns")


def enter_root(root: str) -> None:
    """Makes the mount point `root` the root of this mount namespace; the old one is gone (pivot_root(2))."""
    os.chdir(root)
    _check(_libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."), f"pivot_root {root}")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount the old root")
    os.chdir("/")


def die_with_parent(signal: int) -> None:
    """This process gets `signal` when the thread that forked it ends; 0 takes that back (prctl(2))."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl")


def set_hostname(name: str) -> None:
    """sethostname(2)."""
    raw = name.encode()
    _check(_libc.sethostname(raw, len(raw)), "sethostname")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
