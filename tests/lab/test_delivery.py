"""A release goes to a host over a real sshd, runs there, and is replaced by the next one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.delivery import agent as agents
from fleet.delivery.facts import Facts, gather
from fleet.delivery.fetch import cache_folder, fetch
from fleet.delivery.install import install
from fleet.delivery.release import Release, archive, plan
from fleet.transport.base import Transport, TransportError
from fleet.transport.connect import open_transport
from tests.lab.sshd import Sshd, sshd
from tests.lab.test_transport import Keys, host

pytestmark = [pytest.mark.lab]

OWN = """
for place in /var/lib /run; do mount -t tmpfs -o size=20m tmpfs $place; done; mkdir /run/sshd
mount -t tmpfs -o size={size} tmpfs /opt
cp -a /etc {folder}/etc; mount --bind {folder}/etc /etc
printf '#!/bin/sh\\nexit 0\\n' > /etc/rc.local; chmod 755 /etc/rc.local
"""


@contextmanager
def machine(folder: Path, size: str = "200m") -> Iterator[Sshd]:
    """A host with folders of its own; the agent that was started there ends with it."""
    with sshd(folder, script=OWN.format(size=size, folder=folder)) as running:
        try:
            yield running
        finally:
            with closing(connect(running)) as transport:
                stop = "p=/opt/fleet-agent/current/bin/fleet-agent; [ ! -x $p ] || $p supervise --stop"
                transport.run(stop, timeout=60)


def connect(server: Sshd, **connection: object) -> Transport:
    return open_transport(host(server.port, **connection), Keys(server.key_file, server.known_hosts), 30)


@dataclass(frozen=True)
class Packed:
    """What is needed to install on this machine."""

    facts: Facts
    release: Release
    data: bytes


def pack(transport: Transport, userspace: bool) -> Packed:
    facts = gather(transport, [])
    release = plan(facts, userspace)
    assert isinstance(release, Release)
    assert facts.python is not None
    wheels = fetch(release.wheels, facts.python.version, cache_folder(os.environ, Path.home()))
    return Packed(facts, release, archive(release, tuple(wheels.items())))


def releases(transport: Transport) -> set[str]:
    return set(transport.run("ls -A /opt/fleet-agent/releases", timeout=30).stdout.decode().split())


def test_from_nothing_to_an_agent_that_answers(tmp_path: Path) -> None:
    with machine(tmp_path) as server, closing(connect(server)) as transport:
        packed = pack(transport, userspace=True)
        assert packed.facts.release is None
        install(transport, packed.release, packed.data, "rc.local")
        after = gather(transport, [])
        assert after.release == packed.release.digest
        assert after.report is not None, after.agent_error
        assert after.report.release == packed.release.digest
        assert after.report.fleet is None
        imports = "import sys; sys.path.insert(0, '/opt/fleet-agent/current'); import nacl.bindings, pyroute2"
        imports += ", cryptography.hazmat.primitives.ciphers.aead as a; print(a.__file__)"
        done = transport.run(f'/usr/bin/python3 -I -c "{imports}"', timeout=60)
        assert done.stdout.startswith(b"/opt/fleet-agent/current/cryptography"), done.stderr
        lines = (tmp_path / "etc/rc.local").read_text().splitlines()
        assert lines == ["#!/bin/sh", "/opt/fleet-agent/current/bin/fleet-agent supervise", "exit 0"]
        owners = transport.run("find /opt/fleet-agent ! -user root -o -perm /022 ! -type l", timeout=30)
        assert owners.stdout == b""
        assert releases(transport) == {packed.release.digest}


def test_the_next_release_takes_over_and_a_broken_one_does_not(tmp_path: Path) -> None:
    with machine(tmp_path) as server, closing(connect(server)) as transport:
        first, second = pack(transport, userspace=False), pack(transport, userspace=True)
        install(transport, first.release, first.data, "none")
        with pytest.raises(TransportError, match="cut off"):
            install(transport, second.release, second.data[: len(second.data) // 2], "none")
        assert releases(transport) == {first.release.digest}
        assert agents.report(transport, "0" * 32, probe=False).release == first.release.digest
        install(transport, second.release, second.data, "none")
        assert agents.report(transport, "0" * 32, probe=False).release == second.release.digest
        assert releases(transport) == {first.release.digest, second.release.digest}
        notes = install(transport, first.release, first.data, "none")
        assert "reboot" in notes[0]
        assert agents.report(transport, "0" * 32, probe=False).release == first.release.digest
        processes = transport.run("cat /run/fleet-agent/*.lock", timeout=30).stdout.split()
        assert len(processes) == 2


def test_a_disk_that_fills_up_under_way(tmp_path: Path) -> None:
    with machine(tmp_path, size="10m") as server, closing(connect(server)) as transport:
        small, large = pack(transport, userspace=False), pack(transport, userspace=True)
        install(transport, small.release, small.data, "none")
        with pytest.raises(
            TransportError, match=r"^fra1: no space left for the agent in /opt/fleet-agent"
        ) as caught:
            install(transport, large.release, large.data, "none")
        assert "\n" not in str(caught.value)
        assert releases(transport) == {small.release.digest}
        assert agents.report(transport, "0" * 32, probe=False).release == small.release.digest


def test_a_dead_agent_is_known_and_comes_back(tmp_path: Path) -> None:
    with machine(tmp_path) as server, closing(connect(server)) as transport:
        packed = pack(transport, userspace=False)
        install(transport, packed.release, packed.data, "none")
        transport.run("/opt/fleet-agent/current/bin/fleet-agent supervise --stop", timeout=60)
        facts = gather(transport, [])
        assert facts.release == packed.release.digest
        assert facts.report is None
        assert facts.agent_error
        install(transport, packed.release, packed.data, "none")
        assert gather(transport, []).report is not None


def test_as_somebody_who_may_use_sudo() -> None:
    """The stream goes through sudo into a folder of root's, whoever logs in."""
    folder = Path(tempfile.mkdtemp(prefix="fleet-delivery-", dir="/tmp"))
    folder.chmod(0o755)  # pytest's own are root's alone, and sshd reads the key as the user
    user = f"fleet{os.getpid()}"
    sudoers = Path(f"/etc/sudoers.d/{user}")
    subprocess.run(["useradd", "-M", "-p", "*", "-s", "/bin/sh", user], check=True)
    try:
        sudoers.write_text(f"{user} ALL=(root) NOPASSWD: ALL\n")
        sudoers.chmod(0o440)
        with machine(folder) as server, closing(connect(server, user=user, become=True)) as transport:
            packed = pack(transport, userspace=False)
            install(transport, packed.release, packed.data, "none")
            assert agents.report(transport, "0" * 32, probe=False).release == packed.release.digest
            owner = transport.run("stat -c %U /opt/fleet-agent/current/agent", timeout=30).stdout
            assert owner == b"root\n"
    finally:
        sudoers.unlink(missing_ok=True)
        subprocess.run(["userdel", user], check=True)
        shutil.rmtree(folder)


def test_an_agent_answers_in_json_that_is_ours(tmp_path: Path) -> None:
    with machine(tmp_path) as server, closing(connect(server)) as transport:
        packed = pack(transport, userspace=False)
        install(transport, packed.release, packed.data, "none")
        done = transport.run("/opt/fleet-agent/current/bin/fleet-agent apply", stdin=b"{}", timeout=30)
        assert done.exit_code == 1
        assert json.loads(
            transport.run("/opt/fleet-agent/current/bin/fleet-agent secrets", timeout=30).stdout
        ) == {
            "ok": True,
            "secrets": [],
        }
