"""Prints what a host is, as JSON, with nothing of fleet's: runs on the host, with the standard library alone.

Links, addresses, routes, rules, queues and firewall as the tools print them; every setting below
/proc/sys/net; files with modes, owners and hashes; processes; units. What changes by itself (lifetimes,
counters, logs) is left out. Two of them are the same where nothing was changed in between. Called by the
tests of removal, which send this file to a host and compare.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TREES = ("/boot", "/etc", "/home", "/opt", "/root", "/run", "/srv", "/usr/local", "/usr/lib/systemd", "/var")
LEFT_OUT = (
    "/etc/mtab",
    "/run/credentials",
    "/run/lock/lvm",
    "/run/log",
    "/run/sshd.pid",
    "/run/systemd",
    "/run/udev",
    "/run/user",
    "/run/utmp",
    "/var/cache",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/systemd",
    "/var/log",
    "/var/tmp",
)
CHANGING = {"valid_life_time", "preferred_life_time", "expires", "age", "tentative"}
COUNTERS = {"netfilter/nf_conntrack_count", "ipv4/route/gc_interval"}
COMMANDS = {
    "links": "ip -j -d link show",
    "addresses": "ip -j addr show",
    "routes": "ip -j -4 route show table all",
    "routes6": "ip -j -6 route show table all",
    "rules": "ip -j -4 rule show",
    "rules6": "ip -j -6 rule show",
    "namespaces": "ip -j netns list",
    "queues": "tc -j qdisc show",
}


def run(command: str) -> str:
    """What a command prints; nothing where the host has none of that name."""
    try:
        done = subprocess.run(command.split(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout


def steady(value: Any) -> Any:
    """Without what changes by itself, the order of lists included."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items() if key not in CHANGING}
    if isinstance(value, list):
        return sorted((steady(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    return value


def settings() -> dict[str, str]:
    found = {}
    for file in Path("/proc/sys/net").rglob("*"):
        name = str(file.relative_to("/proc/sys/net"))
        if file.is_file() and name not in COUNTERS:
            try:
                found[name] = file.read_text()
            except OSError as error:
                found[name] = str(error.errno)
    return found


def files() -> dict[str, str]:
    found = {}
    for tree in TREES:
        for folder, folders, names in os.walk(tree):
            folders[:] = [name for name in folders if f"{folder}/{name}" not in LEFT_OUT]
            for path in (f"{folder}/{name}" for name in [*folders, *names]):
                if path not in LEFT_OUT:
                    found[path] = described(Path(path))
    return found


def described(path: Path) -> str:
    try:
        info = path.lstat()
        text = f"{stat.filemode(info.st_mode)} {info.st_uid}:{info.st_gid}"
        if stat.S_ISLNK(info.st_mode):
            return f"{text} {path.readlink()}"
        if stat.S_ISREG(info.st_mode):
            return f"{text} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError as error:
        return str(error.errno)
    return text


def processes() -> list[str]:
    """The command lines of all but whoever asks: this one, who started it, and sessions of users."""
    asking, pid = set(), os.getpid()
    while pid > 1:
        asking.add(str(pid))
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            group = (folder / "cgroup").read_text()
        except OSError:
            continue
        session = words.startswith("sshd: ") and "[listener]" not in words
        if words and folder.name not in asking and not session and "/user.slice/" not in group:
            found.append(words)
    return sorted(found)


def units() -> list[str]:
    plain = "--no-legend --no-pager --plain"
    files = run(f"systemctl list-unit-files {plain}").splitlines()
    loaded = run(f"systemctl list-units --all {plain} --type=service,socket").splitlines()
    names = (line.split()[:4] for line in loaded)
    asking = ("session-", "user@", "user-runtime-dir@")
    states = [" ".join(words) for words in names if words and not words[0].startswith(asking)]
    return sorted([*(" ".join(line.split()[:2]) for line in files), *states])


def settle() -> None:
    """Until no address is tentative: a new link's routes come when its addresses are its own."""
    end = time.monotonic() + 10
    while '"tentative":true' in run("ip -j addr show") and time.monotonic() < end:
        time.sleep(0.1)


def picture() -> dict[str, Any]:
    settle()
    taken: dict[str, Any] = {name: steady(json.loads(run(line) or "[]")) for name, line in COMMANDS.items()}
    return {
        **taken,
        "firewall": run("nft list ruleset"),
        "settings": settings(),
        "files": files(),
        "processes": processes(),
        "units": units(),
    }


if __name__ == "__main__":
    json.dump(picture(), sys.stdout)
