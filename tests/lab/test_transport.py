"""The SSH transport against a real sshd, and against servers that misbehave."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fleet.errors import Location
from fleet.inventory.model import Connection, Host
from fleet.transport.base import Transport, TransportError
from fleet.transport.connect import open_transport
from tests.lab.sshd import Sshd, free_port, sshd

pytestmark = pytest.mark.lab

RELAY = """
import os, socket, sys, threading
server = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def back():
    while data := server.recv(65536):
        os.write(1, data)
threading.Thread(target=back, daemon=True).start()
while data := os.read(0, 65536):
    server.sendall(data)
"""


@dataclass(frozen=True)
class Keys:
    """What a lab gives to the transport."""

    key_file: Path
    known_hosts: Path


def host(port: int, **connection: object) -> Host:
    values: dict[str, object] = {
        "kind": "ssh",
        "host": "127.0.0.1",
        "port": port,
        "user": "root",
        **connection,
    }
    return Host(
        name="fra1",
        groups=(),
        connection=Connection(**values),  # type: ignore[arg-type]
        addresses=(),
        subnets=(),
        endpoint=None,
        nat=False,
        transit=False,
        interface="wg0",
        listen_port=51820,
        mtu=1420,
        backend="auto",
        self_heal=False,
        where=Location(Path("inventory.yml"), 1, 1),
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


def open_to(server: Sshd, timeout: float = 20, **connection: object) -> Transport:
    access = Keys(server.key_file, server.known_hosts)
    return open_transport(host(server.port, **connection), access, timeout)


def failure(action: Callable[[], object]) -> TransportError:
    with pytest.raises(TransportError) as caught:
        action()
    assert caught.value.host == "fra1"
    assert "\n" not in str(caught.value)
    return caught.value


def test_commands_run_as_root_and_everything_comes_back(server: Sshd) -> None:
    with closing(open_to(server)) as transport:
        done = transport.run("id -u; cat; echo oops >&2; exit 3", stdin=b"\xff\0", timeout=20)
        assert (done.exit_code, done.stdout, done.stderr) == (3, b"0\n\xff\0", "oops\n")
        assert transport.run("true", timeout=20).exit_code == 0


def test_megabytes_go_both_ways_at_once(server: Sshd) -> None:
    data = os.urandom(1 << 20) * 8
    with closing(open_to(server)) as transport:
        done = transport.run("tee /dev/stderr", stdin=data, timeout=60)
    assert done.stdout == data
    assert len(done.stderr) > 1 << 20


def test_output_without_end_of_reading_does_not_block(server: Sshd) -> None:
    with closing(open_to(server)) as transport:
        done = transport.run("head -c 8000000 /dev/zero; cat >/dev/null", stdin=bytes(8 << 20), timeout=60)
    assert len(done.stdout) == 8000000


def test_a_command_that_reads_nothing_is_no_error(server: Sshd) -> None:
    with closing(open_to(server)) as transport:
        assert transport.run("exit 4", stdin=bytes(8 << 20), timeout=60).exit_code == 4


def test_many_hosts_from_a_pool(server: Sshd) -> None:
    def one(number: int) -> bytes:
        with closing(open_to(server)) as transport:
            return transport.run(f"echo {number}", timeout=60).stdout

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(one, range(40))) == [f"{number}\n".encode() for number in range(40)]


def test_an_unknown_host_key_is_refused(server: Sshd, tmp_path: Path) -> None:
    empty = replace(server, known_hosts=tmp_path / "none")
    error = failure(lambda: open_to(empty))
    assert error.kind == "unreachable"
    assert "is not known (ssh-ed25519 SHA256:" in error.reason
    assert f"ssh-keyscan -p {server.port} 127.0.0.1" in error.reason


def test_a_changed_host_key_is_refused_and_named(server: Sshd, tmp_path: Path) -> None:
    kind, key, *_ = (server.folder / "login.pub").read_text().split()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {kind} {key}\n")
    error = failure(lambda: open_to(replace(server, known_hosts=known)))
    assert "has changed" in error.reason
    assert f"{known}:1" in error.reason
    assert "ssh-keygen -R" in error.reason


def test_the_known_type_of_key_is_asked_for(tmp_path: Path) -> None:
    """A host with keys of several types is known by any one of them."""
    for name, kind in (("rsa", "rsa"), ("ecdsa", "ecdsa")):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / name], check=True)
    more = (f"HostKey {tmp_path}/rsa", f"HostKey {tmp_path}/ecdsa")
    with sshd(tmp_path, options=more) as server:
        for name in ("rsa", "ecdsa", "host"):
            kind, key, *_ = (tmp_path / f"{name}.pub").read_text().split()
            known = tmp_path / f"known_{name}"
            known.write_text(f"[127.0.0.1]:{server.port} {kind} {key}\n")
            open_to(replace(server, known_hosts=known)).close()


def test_accept_new_writes_the_key_once(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    options = (("stricthostkeychecking", "accept-new"),)
    target = host(server.port, private_key_file=server.key_file, options=options)
    for _ in range(2):
        open_transport(target, None, 20).close()
    known = tmp_path / ".ssh" / "known_hosts"
    assert known.read_text() == server.known_hosts.read_text()
    assert known.stat().st_mode & 0o777 == 0o600


def test_the_users_ssh_configuration_is_followed(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ssh = tmp_path / ".ssh"
    ssh.mkdir()
    shutil.copy(server.key_file, ssh / "id_ed25519")
    known = f"UserKnownHostsFile {server.known_hosts}\n"
    place = f"HostName 127.0.0.1\nPort {server.port}\n{known}"
    relay = tmp_path / "relay.py"
    relay.write_text(RELAY)
    proxy = f"ProxyCommand {sys.executable} {relay} %h %p"
    config = f"Host plain\n{place}Host jumped\n{place}ProxyJump plain\n"
    config += f"Host proxied\n{place}{proxy}\n"
    (ssh / "config").write_text(config)
    for alias in ("plain", "jumped", "proxied"):
        target = replace(host(1), connection=Connection(kind="ssh", host=alias, user="root"))
        with closing(open_transport(target, None, 20)) as transport:
            assert transport.run("echo $SSH_CONNECTION", timeout=20).stdout.endswith(
                f"{server.port}\n".encode()
            )


def test_a_jump_host_that_cannot_reach_the_host_is_named(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(
        f"Host *\nUserKnownHostsFile {server.known_hosts}\nIdentityFile {server.key_file}\n"
    )
    target = host(free_port(), options=(("proxyjump", f"root@127.0.0.1:{server.port}"),))
    assert "the jump host cannot reach 127.0.0.1" in failure(lambda: open_transport(target, None, 20)).reason


def test_a_refused_login_names_user_and_key(server: Sshd, tmp_path: Path) -> None:
    key = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    error = failure(lambda: open_to(replace(server, key_file=key)))
    assert "refuses root" in error.reason
    assert str(key) in error.reason


def test_a_key_with_a_passphrase_is_named(server: Sshd, tmp_path: Path) -> None:
    key = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", key], check=True)
    assert "ssh-add it" in failure(lambda: open_to(replace(server, key_file=key))).reason


def test_a_key_that_does_not_exist_is_named(server: Sshd, tmp_path: Path) -> None:
    error = failure(lambda: open_to(replace(server, key_file=tmp_path / "none")))
    assert f"the private key {tmp_path}/none does not exist" in error.reason


def test_who_is_not_root_and_may_not_become_is_told(server: Sshd) -> None:
    assert "set ansible_become: true" in failure(lambda: open_to(server, user="ops")).reason


def test_a_port_where_nobody_listens(server: Sshd) -> None:
    assert "refuses connections" in failure(lambda: open_to(replace(server, port=free_port()))).reason


def test_a_name_that_does_not_resolve(server: Sshd) -> None:
    error = failure(lambda: open_to(server, timeout=5, host="no-such-host.invalid"))
    assert "no-such-host.invalid does not resolve" in error.reason


@pytest.fixture
def listener() -> Iterator[tuple[int, list[socket.socket]]]:
    """A TCP server that accepts, and does what the test tells it through the sockets."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    accepted.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1], accepted
        server.shutdown(socket.SHUT_RDWR)
    for sock in accepted:
        sock.close()


def test_a_host_that_accepts_and_says_nothing(
    server: Sshd, listener: tuple[int, list[socket.socket]]
) -> None:
    error = failure(lambda: open_to(replace(server, port=listener[0]), timeout=1))
    assert "did not answer within 1 s" in error.reason


def test_a_host_that_stops_after_its_banner(server: Sshd, listener: tuple[int, list[socket.socket]]) -> None:
    port, accepted = listener

    def greet() -> None:
        while not accepted:
            time.sleep(0.01)
        accepted[0].sendall(b"SSH-2.0-slow\r\n")

    threading.Thread(target=greet, daemon=True).start()
    error = failure(lambda: open_to(replace(server, port=port), timeout=1))
    assert "did not answer within 1 s" in error.reason


def test_a_server_that_is_not_ssh(server: Sshd, listener: tuple[int, list[socket.socket]]) -> None:
    port, accepted = listener

    def greet() -> None:
        while not accepted:
            time.sleep(0.01)
        accepted[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        accepted[0].close()

    threading.Thread(target=greet, daemon=True).start()
    assert "no SSH server" in failure(lambda: open_to(replace(server, port=port), timeout=10)).reason


def test_a_command_that_hangs_ends_in_time(server: Sshd) -> None:
    with closing(open_to(server)) as transport:
        error = failure(lambda: transport.run("sleep 60", timeout=0.5))
    assert error.kind == "failed"
    assert "did not end within 0.5 s" in error.reason


def test_a_host_that_stops_reading_ends_in_time(server: Sshd) -> None:
    with closing(open_to(server)) as transport:
        error = failure(lambda: transport.run("sleep 60", stdin=bytes(64 << 20), timeout=1))
    assert "did not end within 1 s" in error.reason


def test_a_connection_that_is_cut_in_the_middle(server: Sshd) -> None:
    with closing(open_to(server)) as transport:
        parent = int(transport.run("echo $PPID", timeout=20).stdout)
        cutter = threading.Timer(0.3, os.kill, (parent, signal.SIGKILL))
        cutter.start()
        error = failure(lambda: transport.run("cat", stdin=bytes(1 << 20) * 400, timeout=60))
    assert error.kind == "unreachable"
    assert "the connection was lost" in error.reason


@pytest.fixture(scope="module")
def ops() -> Iterator[str]:
    """A user who is not root, for as long as the tests run."""
    name = "fleettestops"
    subprocess.run(["userdel", "-f", name], capture_output=True)
    subprocess.run(["useradd", "-M", "-p", "*", "-s", "/bin/sh", name], check=True)
    yield name
    subprocess.run(["userdel", "-f", name], check=True, capture_output=True)


@pytest.fixture
def sudoers(ops: str) -> Iterator[Path]:
    file = Path(f"/etc/sudoers.d/{ops}")
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def open_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose files another user may read: pytest's own are root's alone."""
    folder = Path("/run/fleet-test-transport")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def ops_server(ops: str, open_folder: Path) -> Iterator[Sshd]:
    with sshd(open_folder) as running:
        yield running


@pytest.mark.skipif(not shutil.which("sudo"), reason="needs sudo")
def test_sudo_without_a_password(ops_server: Sshd, ops: str, sudoers: Path) -> None:
    sudoers.write_text(f"{ops} ALL=(root) NOPASSWD: ALL\n")
    with closing(open_to(ops_server, user=ops, become=True)) as transport:
        data = os.urandom(1 << 20)
        done = transport.run("id -u >&2; cat", stdin=data, timeout=30)
        assert (done.stdout, done.stderr) == (data, "0\n")


@pytest.mark.skipif(not shutil.which("sudo"), reason="needs sudo")
def test_sudo_that_is_not_granted_names_the_cure(ops_server: Sshd, ops: str, sudoers: Path) -> None:
    with closing(open_to(ops_server, user=ops, become=True)) as transport:
        assert "NOPASSWD" in failure(lambda: transport.run("id", timeout=20)).reason


@pytest.mark.skipif(not shutil.which("sudo"), reason="needs sudo")
@pytest.mark.parametrize(("password", "right"), [("correct horse", True), ("wrong", False)])
def test_a_password_answers_the_prompt_and_nothing_else(
    ops_server: Sshd, ops: str, sudoers: Path, password: str, right: bool
) -> None:
    assert pwd.getpwnam(ops)
    subprocess.run(["chpasswd"], input=f"{ops}:correct horse\n".encode(), check=True)
    sudoers.write_text(f"{ops} ALL=(root) ALL\nDefaults:{ops} timestamp_timeout=0\n")
    with closing(open_to(ops_server, user=ops, become=True, become_password=password)) as transport:
        if right:
            assert transport.run("id -u; cat", stdin=b"input", timeout=30).stdout == b"0\ninput"
        else:
            reason = failure(lambda: transport.run("id -u; cat", stdin=b"input", timeout=30)).reason
            assert f"refuses {ops}'s password" in reason
            assert password not in reason
