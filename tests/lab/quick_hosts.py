"""A host with files of its own on which wg-quick and `fleet-agent up` take turns, and pictures of it.

Job: write files, run either program, tell what the host is like as text to compare, and what hooks and
resolvconf were told. Refuses to know what is tested. Called by the lab tests of agent.quick.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.lab.agents import AgentHost, agent_pair

Program = Literal["wg-quick", "fleet-agent"]
PROGRAMS: tuple[Program, Program] = ("wg-quick", "fleet-agent")
INTERFACE = "wg0"

# a log of calls with what they read; `hook` reads nothing, for it has the stdin of the test
_FAKE = """\
#!/bin/sh
echo "${0##*/} $*" >> '@LOG@'
case ${0##*/},$1 in resolvconf,-a) cat >> '@LOG@' ;; resolvconf,-l) cat '@SERVERS@' ;; esac
exit 0
"""
_LOOKS: tuple[tuple[str, ...], ...] = (
    ("ip", "-details", "address", "show", "dev", INTERFACE),
    ("ip", "route", "show", "table", "all"),
    ("ip", "-6", "route", "show", "table", "all"),
    ("ip", "rule"),
    ("ip", "-6", "rule"),
    ("nft", "list", "ruleset"),
    ("iptables-save",),
    ("ip6tables-save",),
    ("wg", "show", INTERFACE, "fwmark"),
)
_VALIDATE = ("sysctl", "-n", "net.ipv4.conf.all.src_valid_mark")
# numbers that differ every time, the kind of TUN device, the queue of a driver; addresses that come later
_NOISE = re.compile(
    r" (qlen|numtxqueues|numrxqueues|gso_\w+|tso_\w+|gro_\w+) \d+|"
    r"^\d+: |^ListenPort.*\n|.*fe80:.*\n|.*valid_lft.*\n"
    r"|^#.*\n|^\s+tun .*\n|\[\d+:\d+\]|\(host-only\)",
    re.MULTILINE,
)


@dataclass
class QuickHost:
    """`host` is where files are brought up, `beyond` the other end of its wire."""

    host: AgentHost
    beyond: AgentHost
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / f"{INTERFACE}.conf"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def write(self, text: str) -> None:
        self.file.write_bytes(text.encode("utf-8", "surrogateescape"))

    def told(self) -> list[str]:
        """What hooks and resolvconf were told since the last time."""
        lines = self.log.read_text().splitlines()
        self.log.write_text("")
        return lines

    def command(self, program: Program, verb: str, word: str = "", retries: str = "0") -> list[str]:
        path = f"PATH={self.folder / 'bin'}:{os.environ['PATH']}"
        settings = (
            f"WG_ENDPOINT_RESOLUTION_RETRIES={retries}",
            "WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go",
        )
        argv = ("wg-quick",) if program == "wg-quick" else (sys.executable, "-m", "agent.cli")
        return self.host.command("env", path, *settings, *argv, verb, word or str(self.file))

    def run(self, program: Program, verb: str, word: str = "") -> subprocess.CompletedProcess[str]:
        """Runs `up`, `down`, `save` or `strip`, whatever the exit code."""
        return subprocess.run(
            self.command(program, verb, word),
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )

    def done(self, program: Program, verb: str) -> str:
        """The same, which must succeed; what it said."""
        ran = self.run(program, verb)
        assert ran.returncode == 0, ran.stderr
        return ran.stderr

    def ip(self, *words: str) -> str:
        ran = self.host.run("ip", *words)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def picture(self, validate: bool = True) -> list[str]:
        """All that the programs change; `validate`: src_valid_mark too, which wg-quick leaves on."""
        looks = (*_LOOKS, _VALIDATE) if validate else _LOOKS
        said = [self.host.run(*look) for look in looks]
        lines = [line for ran in said for line in _NOISE.sub("", f"{ran.stdout}{ran.stderr}").splitlines()]
        peers = self.host.run("wg", "showconf", INTERFACE).stdout.split(
            "\n[Peer]\n"
        )  # some forget their order
        return [*lines, *sorted(peer.strip() for peer in peers[1:])]

    def hide_nft(self) -> None:
        """No program finds it on this host any more."""
        kept = self.folder / "sbin"
        kept.mkdir()
        script = (
            f"mount --bind /usr/sbin {kept} && mount -t tmpfs tmpfs /usr/sbin && "
            f"ln -s {kept}/* /usr/sbin && rm /usr/sbin/nft"
        )
        assert self.host.run("sh", "-c", script).returncode == 0

    def tunnels(self) -> list[int]:
        """Our processes for the interface."""
        return self.host.processes("tunnel", INTERFACE)

    def kind(self) -> str:
        """`wireguard` or `tun`."""
        found = re.search(
            r"^\s+(wireguard|tun) ", self.ip("-details", "link", "show", INTERFACE), re.MULTILINE
        )
        assert found
        return found[1]


@contextmanager
def quick_host(folder: Path) -> Iterator[QuickHost]:
    """On its wire, everything leaves by the other end; its link has MTU 1492, one route 1400."""
    with agent_pair() as (host, beyond):
        quick = QuickHost(host, beyond, folder)
        (folder / "bin").mkdir()
        (folder / "servers").write_text("nameserver 10.10.0.53\n")
        quick.log.touch()
        fake = _FAKE.replace("@LOG@", str(quick.log)).replace("@SERVERS@", str(folder / "servers"))
        for name in ("hook", "resolvconf"):
            (folder / "bin" / name).write_text(fake)
            (folder / "bin" / name).chmod(0o755)
        folder.chmod(0o700)
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # nobody answers, and that at once
        mounted = host.run("mount", "--bind", str(folder / "resolv.conf"), "/etc/resolv.conf")
        assert mounted.returncode == 0, mounted.stderr
        quick.ip("link", "set", "wire0", "mtu", "1492")
        quick.ip("route", "add", "default", "via", beyond.space.v4)
        quick.ip("-6", "route", "add", "default", "via", beyond.space.v6)
        quick.ip("route", "add", "198.51.100.0/24", "via", beyond.space.v4, "mtu", "1400")
        try:
            yield quick
        finally:
            host.run("ip", "link", "delete", INTERFACE)
