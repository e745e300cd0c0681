"""The commands, with a device that is a dictionary entry."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Optional

import pytest

from agent import cli
from agent.host.device import DeviceEdit, DeviceState, PeerEdit, SocketAddress
from agent.wg import main
from agent.wg.devices import Devices
from tests.agent.wg.samples import DEVICE, EMPTY, FIRST, PRIVATE, PSK, SECOND, THIRD, b64


class FakeDevices(Devices):
    """`states` by name; what was written last is `written`."""

    def __init__(self, **states: DeviceState) -> None:
        super().__init__()
        self.states = states
        self.fail: Optional[int] = None
        self.written: Optional[tuple[str, DeviceEdit]] = None

    def names(self) -> tuple[str, ...]:
        if self.fail:
            raise OSError(self.fail, "no")
        return tuple(self.states)

    def read(self, name: str) -> DeviceState:
        if self.states.get(name) is None:
            raise OSError(errno.ENODEV, "no")
        return self.states[name]

    def write(self, name: str, edit: DeviceEdit) -> None:
        self.read(name)
        if self.fail:
            raise OSError(self.fail, "no")
        self.written = name, edit


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("WG_COLOR_MODE", "WG_HIDE_KEYS", "WG_ENDPOINT_RESOLUTION_RETRIES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def devices() -> FakeDevices:
    return FakeDevices(wg0=DEVICE, wg1=EMPTY)


Captured = pytest.CaptureFixture[str]


def test_show(devices: FakeDevices, capsys: Captured) -> None:
    assert main.run("show", ["wg0"], devices) == 0
    one = capsys.readouterr().out
    assert one.startswith("interface: wg0\n  public key: ")
    assert "(hidden)" in one
    for words in ([], ["all"]):
        assert main.run("show", words, devices) == 0
        assert capsys.readouterr().out == one + "\ninterface: wg1\n"
    assert main.run("show", ["interfaces"], devices) == 0
    assert capsys.readouterr().out == "wg0 wg1\n"
    assert main.run("show", ["wg0", "fwmark"], devices) == 0
    assert main.run("show", ["all", "fwmark"], devices) == 0
    assert capsys.readouterr().out == "0x10\nwg0\t0x10\nwg1\toff\n"


def test_show_without_devices(capsys: Captured) -> None:
    for words in ([], ["all"], ["interfaces"], ["all", "dump"]):
        assert main.run("show", words, FakeDevices()) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("mode", "terminal", "painted"),
    [
        ("always", False, True),
        ("never", True, False),
        ("auto", True, True),
        ("odd", False, False),
        ("", True, True),
    ],
)
def test_colours(
    mode: str,
    terminal: bool,
    painted: bool,
    devices: FakeDevices,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WG_COLOR_MODE", mode)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    main.run("show", ["wg0"], devices)
    assert ("\x1b[" in capsys.readouterr().out) is painted


@pytest.mark.parametrize(("value", "shown"), [("never", True), ("always", False), ("odd", False)])
def test_hidden_keys(
    value: str, shown: bool, devices: FakeDevices, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WG_HIDE_KEYS", value)
    main.run("show", ["wg0"], devices)
    out = capsys.readouterr().out
    assert (b64(PRIVATE) in out, b64(PSK) in out, "(hidden)" in out) == (shown, shown, not shown)


def test_one_that_cannot_be_read_does_not_hide_the_others(capsys: Captured) -> None:
    devices = FakeDevices(wg0=DEVICE, wg1=EMPTY)
    devices.names = lambda: ("wg0", "gone", "wg1")  # type: ignore[method-assign]
    assert main.run("show", ["all", "listen-port"], devices) == 0
    assert capsys.readouterr() == (
        "wg0\t51820\nwg1\t0\n",
        "fleet-agent: Unable to access interface gone: No such device\n",
    )


def test_those_who_are_not_root_are_told(
    devices: FakeDevices, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    devices.fail = errno.EPERM
    assert main.run("show", [], devices) == 1
    assert capsys.readouterr().err == (
        "fleet-agent: Unable to list interfaces: Operation not permitted (are you root?)\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        *(["show", "wg0", "colour"], ["show", "wg0", "dump", "x"], ["show", "interfaces", "dump"]),
        *(["show", "wg0", ""], ["showconf"], ["showconf", "wg0", "x"], ["setconf", "wg0"], ["addconf"]),
        *(["syncconf", "wg0", "a", "b"], ["genkey", b64(PRIVATE)], ["genpsk", "x"], ["pubkey", b64(PRIVATE)]),
    ],
)
def test_words_that_are_wrong(words: list[str], devices: FakeDevices, capsys: Captured) -> None:
    assert main.run(words[0], words[1:], devices) == 1
    found = capsys.readouterr()
    assert found.out == ""
    assert f"usage: fleet-agent {words[0]}" in found.err


@pytest.mark.parametrize(
    "command", ["show", "showconf", "setconf", "addconf", "syncconf", "genkey", "genpsk", "pubkey"]
)
def test_help(command: str, capsys: Captured) -> None:
    assert cli.main([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: fleet-agent {command}")
    assert err == ""
    assert "{" not in out


def test_showconf(devices: FakeDevices, capsys: Captured) -> None:
    assert main.run("showconf", ["wg0"], devices) == 0
    assert (
        capsys.readouterr().out
        == f"""\
[Interface]
ListenPort = 51820
FwMark = 0x10
PrivateKey = {b64(PRIVATE)}

[Peer]
PublicKey = {b64(FIRST)}

[Peer]
PublicKey = {b64(SECOND)}
PresharedKey = {b64(PSK)}
AllowedIPs = 10.0.0.0/8, fd00::/64
Endpoint = [2001:db8::]:5
PersistentKeepalive = 25

[Peer]
PublicKey = {b64(THIRD)}
Endpoint = 192.0.2.1:500
PersistentKeepalive = 61
"""
    )
    assert main.run("showconf", ["wg1"], devices) == 0
    assert capsys.readouterr().out == "[Interface]\n\n"
    assert main.run("showconf", ["wg2"], devices) == 1
    assert capsys.readouterr() == ("", "fleet-agent: Unable to access interface wg2: No such device\n")


FILE = f"""\
[Interface]
FwMark = 7
[Peer]
PublicKey = {b64(SECOND)}
Endpoint = 192.0.2.9:5
AllowedIPs = 10.0.0.1/8
"""
PEER = PeerEdit(
    SECOND,
    True,
    endpoint=SocketAddress("192.0.2.9", 5),
    allowed_ips=("10.0.0.1/8",),
    replace_allowed_ips=True,
)
SET = DeviceEdit(bytes(32), 0, 7, (PEER,), replace_peers=True)
GONE = (PeerEdit(THIRD, remove=True), PeerEdit(FIRST, remove=True))


@pytest.mark.parametrize(
    ("command", "content", "edit"),
    [
        ("setconf", FILE, SET),
        ("setconf", "", DeviceEdit(bytes(32), 0, 0, replace_peers=True)),
        ("addconf", FILE, DeviceEdit(fwmark=7, peers=(PEER,))),
        ("syncconf", FILE, replace(SET, peers=(*GONE, PEER), replace_peers=False)),
        ("syncconf", "", DeviceEdit(bytes(32), 0, 0, replace_peers=True)),
    ],
)
def test_configure(
    command: str, content: str, edit: DeviceEdit, devices: FakeDevices, tmp_path: Path, capsys: Captured
) -> None:
    file = tmp_path / "wg.conf"
    file.write_text(content)
    assert main.run(command, ["wg0", str(file)], devices) == 0
    assert devices.written == ("wg0", edit)
    warning = f"fleet-agent: warning: {file}:6: AllowedIPs: 10.0.0.1/8 has bits beyond its mask\n"
    assert capsys.readouterr() == ("", warning if content else "")


@pytest.mark.parametrize("command", ["setconf", "addconf", "syncconf"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[Interface]\nPort=5", "{}:2: unknown key Port in [Interface]"),
        (f"[Peer]\nPublicKey={b64(FIRST)}\nEndpoint=[fe80::1%nosuch]:5", "{}:3: [fe80::1%nosuch]:5: "),
        (f"[Peer]\nPublicKey={b64(FIRST)}\nEndpoint=a..b:5", "{}:3: a..b:5: this is no host name"),
        (None, "{}: No such file or directory"),
        ("[Interface]\nPrivateKey=\udcff", "{}:2: PrivateKey: expected a key"),
    ],
)
def test_a_file_that_is_wrong_changes_nothing(
    command: str, content: Optional[str], said: str, devices: FakeDevices, tmp_path: Path, capsys: Captured
) -> None:
    file = tmp_path / "wg.conf"
    if content is not None:
        file.write_text(content, errors="surrogateescape")
    assert main.run(command, ["wg0", str(file)], devices) == 1
    assert devices.written is None
    assert capsys.readouterr().err.startswith("fleet-agent: " + said.format(file))


def test_a_folder_is_no_file(devices: FakeDevices, tmp_path: Path, capsys: Captured) -> None:
    """`wg` takes it for an empty one, and the device loses its peers."""
    assert main.run("setconf", ["wg0", str(tmp_path)], devices) == 1
    assert devices.written is None
    assert capsys.readouterr().err == f"fleet-agent: {tmp_path}: Is a directory\n"


def test_a_number_of_retries_that_is_none(
    devices: FakeDevices, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WG_ENDPOINT_RESOLUTION_RETRIES", "often")
    assert main.run("setconf", ["wg0", "/dev/null"], devices) == 1
    assert "expected a number or infinity, not 'often'" in capsys.readouterr().err


def test_a_device_that_refuses(devices: FakeDevices, capsys: Captured) -> None:
    devices.fail = errno.EADDRINUSE
    assert main.run("setconf", ["wg0", "/dev/null"], devices) == 1
    assert capsys.readouterr().err == "fleet-agent: Unable to modify interface wg0: Address already in use\n"
    assert main.run("syncconf", ["none", "/dev/null"], devices) == 1
    assert capsys.readouterr().err == "fleet-agent: Unable to access interface none: No such device\n"


def test_keys(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["genkey"]) == cli.main(["genpsk"]) == 0
    private, preshared = capsys.readouterr().out.splitlines()
    assert len({private, preshared}) == 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(private.encode() + b"\n")))
    assert cli.main(["pubkey"]) == 0
    assert len(capsys.readouterr().out) == 45
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"secret")))
    assert cli.main(["pubkey"]) == 1
    assert capsys.readouterr() == (
        "",
        "fleet-agent: pubkey: stdin: expected a key, which is 44 letters of base64\n",
    )
    monkeypatch.setattr(sys, "stdin", None)
    assert cli.main(["pubkey"]) == 1
    assert capsys.readouterr().err == "fleet-agent: pubkey: there is no stdin to read the private key from\n"


def test_streams_that_are_closed() -> None:
    for redirection in (">&-", ">&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'exec "$0" -m agent.cli genkey {redirection}', sys.executable],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr


def test_what_need_not_be_loaded_is_not() -> None:
    """The netlink library takes longer than all the rest."""
    for use, module in (("cli.main(['genkey'])", "pyroute2.netlink"), ("client", "agent.wg")):
        check = f"import sys; from agent import cli, client; {use}; sys.exit('{module}' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", check], capture_output=True).returncode == 0
