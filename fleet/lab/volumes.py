"""This machine's file systems that a node sees besides the root's, read only.

Pure: the text of /proc/self/mountinfo is an argument. Called by `build`.
"""

from __future__ import annotations

# What is not a place for programs, or what a node has for itself.
_KINDS = frozenset(
    {
        "autofs",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "devtmpfs",
        "efivarfs",
        "fusectl",
        "hugetlbfs",
        "mqueue",
        "nsfs",
        "proc",
        "pstore",
        "ramfs",
        "rpc_pipefs",
        "securityfs",
        "sysfs",
        "tmpfs",
        "tracefs",
    }
)
OWN = ("/dev", "/home", "/opt", "/proc", "/root", "/run", "/sys", "/tmp", "/var/log")  # noqa: S108


def volumes(mountinfo: str) -> tuple[str, ...]:
    """Mount points in the order in which they must be bound (proc_pid_mountinfo(5))."""
    found: dict[str, None] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4].encode().decode("unicode_escape")
        if point != "/" and after.split()[0] not in _KINDS and not _own(point):
            found[point] = None
    return tuple(found)


def _own(point: str) -> bool:
    return any(point == own or point.startswith(f"{own}/") for own in OWN)
