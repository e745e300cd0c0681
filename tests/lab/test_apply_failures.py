"""What goes wrong with a host, as an operator sees it: one clear line a host, in time, nothing written."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.lab.sshd import Sshd, free_port, sshd

pytestmark = [pytest.mark.lab, pytest.mark.slow]

FLEET = Path(sys.executable).parent / "fleet"
PYTHONS = "/usr/bin/python3* /usr/local/bin/python3*"
NO_PYTHON = f'for file in {PYTHONS}; do [ ! -e "$file" ] || mount --bind {{}} "$file"; done'
OWN = "for place in /var/lib /run; do mount -t tmpfs -o size=10m tmpfs $place; done; mkdir /run/sshd"
OPT = "mount -t tmpfs -o {} tmpfs /opt"
HOSTS = {
    "nopython": NO_PYTHON.format("/dev/null"),
    "oldpython": NO_PYTHON.format("{folder}/oldpython"),
    "full": OPT.format("size=4m"),
    "readonly": f"{OPT.format('size=100m')}; mount -o remount,ro /opt",
    "noexec": OPT.format("size=100m,noexec"),
    "otherkey": "",
    "refused": "",
    "hanging": "",
}
REASONS = {
    "nopython": r"there is no python3: install Python 3\.9 or newer",
    "oldpython": r"its Python is 3\.6\.8: install Python 3\.9 or newer",
    "full": r"there is no space in /opt: \d MiB are free and \d+ MiB are needed",
    "readonly": r"/opt/fleet-agent is mounted read-only: mount it writable",
    "noexec": r"/opt/fleet-agent is mounted noexec.*: mount it with exec",
    "otherkey": r"the host key of .* has changed.*ssh-keygen -R",
    "refused": r"refuses root .*authorized_keys",
    "hanging": r"did not answer within 5 s.*is it overloaded\?",
    "closed": r"refuses connections: is sshd running there",
}
REACHED = ("nopython", "oldpython", "full", "readonly", "noexec")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Sshd]]:
    """A broken host each; `/opt`, `/var/lib` and `/run` are their own."""
    with ExitStack() as stack:
        found = {}
        for name, script in HOSTS.items():
            folder = tmp_path_factory.mktemp(name)
            old = folder / "oldpython"
            old.write_text("#!/bin/sh\necho old-python 3.6.8\nexit 1\n")
            old.chmod(0o755)
            begin = f"{OWN}\n{script.replace('{folder}', str(folder))}"
            found[name] = stack.enter_context(sshd(folder, script=begin))
        os.kill(found["hanging"].process.pid, signal.SIGSTOP)
        other = found["refused"].folder / "host.pub"
        kind, key, *_ = other.read_text().split()
        found["otherkey"].known_hosts.write_text(f"[127.0.0.1]:{found['otherkey'].port} {kind} {key}\n")
        yield found
        os.kill(found["hanging"].process.pid, signal.SIGCONT)


@pytest.fixture
def inventory(servers: dict[str, Sshd], tmp_path: Path) -> Path:
    hosts: dict[str, Any] = {}
    for number, (name, server) in enumerate(servers.items(), 1):
        login = server.key_file if name != "refused" else servers["otherkey"].key_file
        hosts[name] = {
            "ansible_host": "127.0.0.1",
            "ansible_port": server.port,
            "ansible_ssh_private_key_file": str(login),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={shlex.quote(str(server.known_hosts))}",
            "fleet_endpoint": f"192.0.2.{number}:51820",
        }
    hosts["closed"] = {"ansible_host": "127.0.0.1", "ansible_port": free_port()}
    hosts["closed"]["fleet_endpoint"] = "192.0.2.99:51820"
    settings = {"name": "broken", "pools": ["10.99.0.0/24"], "topology": [{"mesh": "all"}]}
    file = tmp_path / "inventory.yml"
    file.write_text(
        json.dumps({"all": {"vars": {"ansible_user": "root", "fleet": settings}, "hosts": hosts}})
    )
    return file


def fleet(*argv: str, home: Path) -> subprocess.CompletedProcess[str]:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    environ = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": cache}
    environ.pop("SSH_AUTH_SOCK", None)
    return subprocess.run(
        [FLEET, *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, env=environ
    )


def test_each_failure_is_one_line_with_the_cure(inventory: Path, tmp_path: Path) -> None:
    begin = time.monotonic()
    done = fleet("apply", str(inventory), "--yes", "--json", "--timeout", "5", home=tmp_path)
    assert done.returncode == 1, done.stderr
    assert time.monotonic() - begin < 60
    document = json.loads(done.stdout)
    assert document["ok"] is False
    assert set(document["hosts"]) == set(REASONS)
    for name, reason in REASONS.items():
        found = document["hosts"][name]
        assert found["result"] == ("failed" if name in REACHED else "unreachable"), (name, found)
        assert found["error"].startswith(f"{name}: ")
        assert "\n" not in found["error"]
        assert re.search(reason, found["error"]), found["error"]
        assert found["changes"] == []
    assert "Traceback" not in done.stderr


def test_people_see_the_same_lines(inventory: Path, tmp_path: Path) -> None:
    done = fleet("apply", str(inventory), "--yes", "--timeout", "5", home=tmp_path)
    assert done.returncode == 1
    for name, reason in REASONS.items():
        lines = [line for line in done.stdout.splitlines() if re.search(rf"\b{name}: .*{reason}", line)]
        assert lines, (name, done.stdout)
    recap = done.stdout.partition("RECAP\n")[2].splitlines()
    assert [line.split()[0] for line in recap] == list(REASONS)


def test_status_says_who_cannot_be_asked(inventory: Path, tmp_path: Path) -> None:
    done = fleet("status", str(inventory), "--json", "--timeout", "5", home=tmp_path)
    assert done.returncode == 1
    hosts = json.loads(done.stdout)["hosts"]
    for name in REASONS:
        assert hosts[name]["reachable"] is (name in REACHED)
        assert hosts[name]["error"]
        assert hosts[name]["peers"] == {}
