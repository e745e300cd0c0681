"""`fleet-agent show`, `setconf` and the like beside Debian's `wg`: the same words print and ask the same."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, Union

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent import cli
from agent.wg.fields import FIELDS
from tests.lab.namespaces import interface_name, wait_until, wired_pair
from tests.lab.recorder import FINE, Recorder, recorder
from tests.lab.tunnels import SOCKETS, Kind, introduce, ping, start

pytestmark = pytest.mark.lab

EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Said(NamedTuple):
    code: int
    out: str
    err: str


def ours(*words: str, stdin: bytes = b"") -> Said:
    """`fleet-agent` in this process."""
    out, err, given_in = io.StringIO(), io.StringIO(), io.TextIOWrapper(io.BytesIO(stdin))
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "stdin", given_in)
        code = cli.main(list(words))
    return Said(code, out.getvalue(), err.getvalue())


def theirs(*words: str, stdin: bytes = b"") -> Said:
    """Debian's `wg`."""
    done = subprocess.run(("wg", *words), input=stdin, capture_output=True, timeout=60)
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


def assert_same_pretty(name: str) -> None:
    """`show IFACE` tells how long ago handshakes were, so a second must not begin between the two.

    C's time() may be some milliseconds late with that (time(2), VDSO; CLOCK_REALTIME_COARSE).
    """
    for _ in range(20):
        start = time.time()
        expected, found = theirs("show", name), ours("show", name)
        if start % 1 > 0.02 and int(time.time()) == int(start):
            break
    assert found == expected


def assert_same_shown(name: str) -> None:
    for field in FIELDS:
        assert ours("show", name, field) == theirs("show", name, field)
    assert ours("showconf", name) == theirs("showconf", name)
    assert_same_pretty(name)


def settled(shown: str) -> list[list[str]]:
    """Paragraphs and their lines in an order of their own: wireguard-go has peers in a new one each time."""
    return sorted(sorted(paragraph.strip().split("\n")) for paragraph in shown.split("\n\n"))


def assert_soon_same_shown(name: str) -> None:
    """For devices that do something meanwhile: each thing is shown alike at some time within seconds."""
    for words in (("show", name), ("showconf", name), *(("show", name, field) for field in FIELDS)):

        def alike(words: tuple[str, ...] = words) -> bool:
            found, expected = ours(*words), theirs(*words)
            return found.code == expected.code == 0 and settled(found.out) == settled(expected.out)

        wait_until(alike, f"{words} print the same")


# What a device may say of itself


keys32 = st.binary(min_size=32, max_size=32)
counters = st.integers(0, 2**64 - 1) | st.integers(0, 5000) | st.integers(0, 2**34)
endpoints = st.sampled_from(
    [
        *("192.0.2.1:5", "[2001:db8::1]:51820", "[fe80::1%lo]:7", "[fe80::2%1]:7", "[::ffff:192.0.2.1]:1"),
        *("[2001:0db8:0::0]:2", "[::192.0.2.1]:3", "0.0.0.0:0", "[::]:65535", "[fe80::3]:9"),
    ]
)
prefixes = st.sampled_from(
    ["0.0.0.0/0", "::/0", "10.0.0.1/32", "192.0.2.0/24", "fd00:0::1/128", "2001:DB8::/32"]
)


@st.composite
def peer_answers(draw: st.DrawFn) -> str:
    lines = [
        f"public_key={draw(keys32).hex()}",
        f"preshared_key={draw(keys32 | st.just(bytes(32))).hex()}",
        "protocol_version=1",
    ]
    if draw(st.booleans()):
        lines.append(f"endpoint={draw(endpoints)}")
    ago = draw(st.none() | st.integers(-5, 100) | st.integers(0, 10**8))
    nanoseconds = draw(st.sampled_from([0, 1, 999_999_999]))
    lines += [
        f"last_handshake_time_sec={0 if ago is None else int(time.time()) - ago}",
        f"last_handshake_time_nsec={0 if ago is None else nanoseconds}",
        f"tx_bytes={draw(counters)}",
        f"rx_bytes={draw(counters)}",
        f"persistent_keepalive_interval={draw(st.integers(0, 65535) | st.sampled_from([0, 25, 60, 61]))}",
        *(f"allowed_ip={prefix}" for prefix in draw(st.lists(prefixes, max_size=4))),
    ]
    return "\n".join(lines) + "\n"


@st.composite
def answers(draw: st.DrawFn) -> str:
    lines = []
    if draw(st.booleans()):
        lines.append(f"private_key={draw(keys32.filter(any)).hex()}\n")
    if draw(st.booleans()):
        lines.append(f"listen_port={draw(st.integers(1, 65535))}\n")
    if draw(st.booleans()):
        lines.append(f"fwmark={draw(st.integers(1, 2**32 - 1))}\n")
    return "".join([*lines, *draw(st.lists(peer_answers(), max_size=4)), FINE])


@pytest.fixture(scope="module")
def control() -> Iterator[tuple[str, Recorder]]:
    name = interface_name("r")
    with recorder(SOCKETS / f"{name}.sock") as made:
        yield name, made


@EXAMPLES
@given(
    answer=answers(),
    colours=st.sampled_from(["always", "never", "auto", ""]),
    keys=st.sampled_from(["never", ""]),
)
def test_whatever_a_device_says_is_shown_alike(
    control: tuple[str, Recorder], answer: str, colours: str, keys: str
) -> None:
    name, device = control
    device.answer = answer
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WG_COLOR_MODE", colours)
        patch.setenv("WG_HIDE_KEYS", keys)
        assert_same_shown(name)


@pytest.mark.parametrize("number", [1, 2, 13, 19, 22])
def test_a_device_that_refuses(control: tuple[str, Recorder], number: int) -> None:
    name, device = control
    device.answer = f"errno={number}\n\n"
    for words in (["show", name], ["show", name, "dump"], ["showconf", name]):
        found = ours(*words)
        assert (found.code, found.out) == theirs(*words)[:2] == (1, "")
        assert found.err == f"fleet-agent: Unable to access interface {name}: {os.strerror(number)}\n"


@pytest.mark.parametrize(
    "words",
    [
        *(
            ["show", "nosuch"],
            ["show", "NAME", "colour"],
            ["show", "NAME", "dump", "x"],
            ["show", "NAME", ""],
        ),
        *(["show", "interfaces", "x"], ["show", "all", "x"], ["show", "all", "dump", "x"], ["show", ""]),
        *(["show", "../wireguard/NAME"], ["showconf"], ["showconf", "nosuch"], ["showconf", "NAME", "x"]),
        *(
            ["setconf"],
            ["setconf", "NAME"],
            ["setconf", "nosuch", "/dev/null"],
            ["setconf", "NAME", "/no/such"],
        ),
        *(
            ["addconf", "NAME", "a", "b"],
            ["syncconf", "nosuch", "/dev/null"],
            ["genkey", "x"],
            ["genpsk", "x"],
        ),
        ["pubkey", "x"],
    ],
)
def test_words_that_are_wrong(control: tuple[str, Recorder], words: list[str]) -> None:
    words = [word.replace("NAME", control[0]) for word in words]
    found, expected = ours(*words), theirs(*words)
    assert (found.code, found.out) == (expected.code, expected.out) == (1, "")
    assert found.err


# What a configuration file asks for

spaces = st.text(" \t", max_size=2)


def spelt(word: str) -> st.SearchStrategy[str]:
    return st.sampled_from([word, word.lower(), word.upper(), " ".join(word)])


@st.composite
def config_lines(draw: st.DrawFn, key: str, values: st.SearchStrategy[str]) -> str:
    end = draw(st.sampled_from(["", "", " ", "\r", "# comment", " #", "\v\f"]))
    return f"{draw(spaces)}{draw(spelt(key))}{draw(spaces)}={draw(spaces)}{draw(values)}{end}"


config_keys = st.one_of(keys32, st.just(bytes(32)), st.just(b"\x11" * 32)).map(
    lambda data: base64.b64encode(data).decode()
)
file_prefixes = st.sampled_from(
    [
        "10.0.0.1",
        "10.0.0.1/8",
        "0.0.0.0/0",
        "fd00::1/064",
        "::/0",
        "1.2.3.4/ 32",
        "::ffff:1.2.3.4/96",
        "FD00::",
        "2001:db8::/129",
    ]
)
file_marks = st.sampled_from(
    ["0", "off", "OFF", "0xffffffff", "4294967295", "010", "0x", "4294967296", "-1", "x", "0X1"]
)
file_endpoints = st.sampled_from(
    [
        *(
            "192.0.2.1:5",
            "[2001:db8::1]:65535",
            "2001:db8::1:5",
            "[fe80::1%lo]:5",
            "[fe80::1%9999]:5",
            "localhost:5",
        ),
        *("[localhost]:007", "1:5", "0x7f.1:5", "192.0.2.1:0", "[::ffff:192.0.2.1]:5"),
        *(
            "192.0.2.1",
            "[::1]5",
            "[::1",
            ":5",
            "[]:5",
            "192.0.2.1:x",
            "192.0.2.1:",
        ),
    ]
)
interface_lines = st.one_of(
    config_lines("PrivateKey", config_keys),
    config_lines("ListenPort", st.integers(0, 65535).map(str) | st.sampled_from(["007", "x", "-1", "0x5"])),
    config_lines("FwMark", file_marks),
)
peer_lines = st.one_of(
    config_lines("PublicKey", config_keys),
    config_lines("PresharedKey", config_keys),
    config_lines("AllowedIPs", st.lists(file_prefixes, min_size=1, max_size=3).map(",".join)),
    config_lines("Endpoint", file_endpoints),
    config_lines(
        "PersistentKeepalive",
        st.integers(0, 65535).map(str) | st.sampled_from(["off", "Off", "65536", "5s", "007"]),
    ),
)
odd_lines = st.sampled_from(
    ["", "# comment", "#", " \t", "garbage", "[Foo]", "Address = 10.0.0.1/8", "ListenPort =", "="]
)


@st.composite
def configs(draw: st.DrawFn, odd: bool) -> str:
    lines = []
    for peer in draw(st.lists(st.booleans(), max_size=5)):
        lines.append(draw(spelt("[Peer]" if peer else "[Interface]")))
        if peer and draw(st.integers(0, 9)):
            lines.append(draw(config_lines("PublicKey", config_keys)))
        lines += draw(st.lists(peer_lines if peer else interface_lines, max_size=4))
    if odd:
        lines.insert(draw(st.integers(0, len(lines))), draw(odd_lines))
    return "\n".join(lines) + draw(st.sampled_from(["", "\n"]))


RUNTIME = (
    f"listen_port=5\npublic_key={'11' * 32}\nallowed_ip=10.0.0.0/8\npersistent_keepalive_interval=25\n"
    f"public_key={'22' * 32}\npreshared_key={'33' * 32}\n{FINE}"
)


@settings(EXAMPLES, max_examples=300)
@given(command=st.sampled_from(["setconf", "addconf", "syncconf"]), content=configs(False) | configs(True))
@example(command="setconf", content="")
@example(command="addconf", content="[Interface]\n")
@example(command="syncconf", content=f"[Peer]\nPublicKey={base64.b64encode(bytes([0x22]) * 32).decode()}\n")
def test_whatever_a_file_says_is_asked_alike(
    control: tuple[str, Recorder], command: str, content: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`wg` goes on asking for a port that is no number as if it were a name, so that is switched off."""
    name, device = control
    device.answer = RUNTIME
    device.taken()
    file = tmp_path_factory.getbasetemp() / "wg.conf"
    file.write_text(content, newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WG_ENDPOINT_RESOLUTION_RETRIES", "0")
        expected = theirs(command, name, str(file))
        wanted = [request for request in device.taken() if request != "get=1\n\n"]
        found = ours(command, name, str(file))
        asked = [request for request in device.taken() if request != "get=1\n\n"]
    assert found.code == expected.code
    assert found.out == expected.out == ""
    assert asked == wanted
    if found.code:
        assert found.err.splitlines()[-1].startswith(f"fleet-agent: {file}:")


@pytest.mark.parametrize("endpoint", ["a..b:5", "[fe80::1%nosuch]:5", "name.invalid:5"])
def test_what_does_not_resolve(
    control: tuple[str, Recorder], endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, device = control
    device.taken()
    monkeypatch.setenv("WG_ENDPOINT_RESOLUTION_RETRIES", "0")
    file = tmp_path / "wg.conf"
    file.write_text(f"[Peer]\nPublicKey={base64.b64encode(bytes(32)).decode()}\nEndpoint={endpoint}\n")
    found, expected = ours("setconf", name, str(file)), theirs("setconf", name, str(file))
    assert found.code == expected.code == 1
    assert found.err.startswith(f"fleet-agent: {file}:3: {endpoint}: ")
    assert device.taken() == []


@pytest.mark.parametrize("retries", ["1", "0", "x", "-1", "infinite"])
def test_a_name_server_that_is_not_reached(retries: str, tmp_path: Path) -> None:
    """In a namespace without any network, where names may resolve later."""
    name = interface_name("r")
    file = tmp_path / "wg.conf"
    file.write_text(f"[Peer]\nPublicKey={base64.b64encode(bytes(32)).decode()}\nEndpoint=host.example:5\n")
    environment = {**os.environ, "WG_ENDPOINT_RESOLUTION_RETRIES": retries}
    with recorder(SOCKETS / f"{name}.sock") as device:
        done = [
            subprocess.run(
                ("unshare", "-n", *program, "setconf", name, str(file)),
                env=environment,
                capture_output=True,
                text=True,
                timeout=30,
            )
            for program in (("wg",), (sys.executable, "-m", "agent.cli"))
        ]
        assert device.asked == []
    expected, found = done
    assert found.returncode == expected.returncode == 1
    assert found.stderr.count("rying again in 1.00 seconds") == expected.stderr.count(
        "rying again in 1.00 seconds"
    )
    if retries in "01":
        assert f"{file}:3: host.example:5: " in found.stderr


# Real devices


@pytest.mark.parametrize("kind", ["ours", "wireguard-go"])
def test_what_one_sets_the_other_shows(kind: Kind, tmp_path: Path) -> None:
    content = f"""\
[Interface]
PrivateKey = {base64.b64encode(bytes([0x41]) * 32).decode()}
ListenPort = 51821
FwMark = 0x10

[Peer]
PublicKey = {base64.b64encode(bytes([0x22]) * 32).decode()}
PresharedKey = {base64.b64encode(bytes([0x33]) * 32).decode()}
AllowedIPs = 10.0.0.1/8, fd00::1/64
AllowedIPs = 192.0.2.0/24
Endpoint = [2001:db8::7]:5
PersistentKeepalive = 25

[Peer]
PublicKey = {base64.b64encode(bytes([0x44]) * 32).decode()}
Endpoint = 192.0.2.9:6
"""
    with wired_pair() as (left, _):
        device = start(left, kind)
        name = device.interface
        shown = {}
        for label, run in (("ours", ours), ("theirs", theirs)):
            for command, text in (
                ("setconf", content),
                ("addconf", content.partition("[Peer]")[0]),
                ("syncconf", content[: content.rindex("[Peer]")]),
                ("setconf", "[Interface]\n"),
                ("setconf", content),
            ):
                file = tmp_path / "wg.conf"
                file.write_text(text)
                assert run(command, name, str(file)).code == 0
                assert_soon_same_shown(name)
            shown[label] = theirs("showconf", name).out
            assert settled(shown[label]) == settled(ours("showconf", name).out)
            again = tmp_path / "again.conf"
            again.write_text(shown[label])
            assert run("setconf", name, str(again)).code == 0
            assert settled(ours("showconf", name).out) == settled(shown[label])
        assert settled(shown["ours"]) == settled(shown["theirs"])
        assert "AllowedIPs = 10.0.0.0/8" in shown["ours"]


def test_peers_that_have_spoken() -> None:
    with wired_pair() as (left, right):
        here, there = start(left, "ours"), start(right, "wireguard-go")
        introduce(here, there)
        assert ping(here, there.inner4) == 3
        for device in (here, there):
            assert_soon_same_shown(device.interface)
            assert "  latest handshake: " in ours("show", device.interface).out


ALL = """
import subprocess, sys, time
from pathlib import Path
folder = Path("/run/wireguard")
(folder / "none.sock").write_text("")
devices = [subprocess.Popen(["wireguard-go", "-f", name], stderr=-3) for name in ("wgc0", "wgc1")]
while len(list(folder.iterdir())) < 3:
    time.sleep(0.02)
key = subprocess.check_output(["wg", "genkey"])
set_up = ["wg", "set", "wgc0", "private-key", "/dev/stdin", "peer", "E" * 43 + "="]
subprocess.run(set_up, input=key, check=True)
try:
    for words in (["show"], ["show", "all"], ["show", "interfaces"], ["show", "all", "dump"]):
        found = [subprocess.run([*program, *words], stdout=-1, stderr=-1, check=True)
                 for program in (["wg"], [sys.executable, "-m", "agent.cli"])]
        assert found[0].stdout == found[1].stdout, found
        assert b"wgc0" in found[1].stdout, found
        assert found[0].stderr == found[1].stderr == b"", found
finally:
    for device in devices:
        device.terminate()
        device.wait()
for words in (["show"], ["show", "interfaces"], ["show", "all", "dump"]):
    assert subprocess.run([sys.executable, "-m", "agent.cli", *words], stdout=-1, check=True).stdout == b""
"""


def test_all_devices() -> None:
    """With a folder of control sockets of its own, as other tests have devices too."""
    SOCKETS.mkdir(parents=True, exist_ok=True)
    mount = 'mount -t tmpfs tmpfs /run/wireguard && exec "$@"'
    done = subprocess.run(
        ("unshare", "--mount", "--net", "sh", "-c", mount, "sh", sys.executable, "-c", ALL),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


# Keys


def test_new_keys() -> None:
    private, preshared = ours("genkey").out, ours("genpsk").out
    assert len({private, preshared, ours("genkey").out, ours("genpsk").out}) == 4
    data = base64.b64decode(private)
    assert len(private) == len(preshared) == 45
    assert (data[0] & 7, data[31] & 192) == (0, 64)
    assert ours("pubkey", stdin=private.encode()) == theirs("pubkey", stdin=private.encode())


encoded = keys32.map(base64.b64encode)


@EXAMPLES
@given(
    encoded
    | st.builds(bytes.__add__, encoded, st.text(" \n\t\r\v\fx=", max_size=3).map(str.encode))
    | st.builds(
        lambda key, at, letter: key[:at] + letter + key[at + 1 :],
        encoded,
        st.integers(0, 44),
        st.sampled_from([b"", b"=", b"A", b"-", b" ", b"\xff", b"/"]),
    )
)
@example(b"")
@example(b"\n")
@example(b"A" * 43 + b"=")
@example(b"A" * 42 + b"B=")
@example(b"A" * 5000)
def test_public_keys(given_key: bytes) -> None:
    found, expected = ours("pubkey", stdin=given_key), theirs("pubkey", stdin=given_key)
    assert (found.code, found.out) == (expected.code, expected.out)
    assert bool(found.err) == bool(expected.err)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o602])
@pytest.mark.parametrize("command", ["genkey", "genpsk", "pubkey"])
def test_secrets_that_everybody_could_read_are_warned_of(command: str, mode: int, tmp_path: Path) -> None:
    key = theirs("genkey").out
    warned = []
    for program in (("wg",), (sys.executable, "-m", "agent.cli")):
        file = tmp_path / "key"
        file.touch()
        file.chmod(mode)
        with file.open("w") as stream:
            done = subprocess.run(
                (*program, command), input=key, stdout=stream, stderr=subprocess.PIPE, text=True
            )
        assert done.returncode == 0
        assert len(file.read_text()) == 45
        warned.append("077" in done.stderr)
    assert warned[0] is warned[1] is (command != "pubkey" and mode & 7 != 0)


def run_to(stdout: Union[int, IO[str]], *words: str) -> subprocess.CompletedProcess[str]:
    """`fleet-agent` in a process of its own."""
    command = (sys.executable, "-m", "agent.cli", *words)
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("words", [["genkey"], ["show", "NAME"]])
def test_what_cannot_be_written_is_an_error(control: tuple[str, Recorder], words: list[str]) -> None:
    control[1].answer = FINE
    words = [word.replace("NAME", control[0]) for word in words]
    with Path("/dev/full").open("w") as full:
        done = run_to(full, *words)
    assert (done.returncode, done.stderr) == (1, "fleet-agent: stdout: [Errno 28] No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run_to(writer, *words)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
