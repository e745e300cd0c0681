"""What facts.sh prints is checked at the border."""

from __future__ import annotations

import json
import subprocess
from importlib.resources import files

import pytest

from agent import report as reports
from agent.report import Observed, Report
from fleet.delivery.facts import gather, parse
from fleet.delivery.manifest import Manifest, to_text
from fleet.transport.base import Completed, TransportError
from tests.fleet.delivery.made import DIGEST, FakeTransport

BARE = """Welcome to this host!
fleet-facts 1
machine x86_64
python /usr/bin/python3
python-version 3.11.2
python-kind cpython 64
libc glibc 2.36
modules nacl somethingelse
lacks
boot systemd
wireguard no
free-opt 1024
free-var 2048
clock 1700000000
"""


def report() -> Report:
    return Report(1, DIGEST, None, None, None, None, None, (), Observed(), (), (), (), {}, 1.0)


def completed(text: str, stderr: str = "") -> Completed:
    return Completed(0, f"{text}end\n".encode(), stderr)


def with_agent(answer: str) -> str:
    return f"{BARE}release {DIGEST}\nreport {answer}\n"


def test_a_bare_host() -> None:
    facts = parse(completed(BARE))
    assert facts.python is not None
    assert facts.python.version == (3, 11, 2)
    assert (facts.python.libc, facts.python.libc_version) == ("glibc", (2, 36))
    assert facts.python.modules == {"nacl"}
    assert facts.lacks == ()
    assert (facts.boot, facts.wireguard, facts.free_opt, facts.clock) == ("systemd", False, 1 << 20, 1.7e9)
    assert (facts.release, facts.report, facts.agent_error) == (None, None, None)


def test_a_host_without_python() -> None:
    text = "\n".join(line for line in BARE.splitlines() if not line.startswith(("python", "libc"))) + "\n"
    assert parse(completed(text)).python is None
    assert parse(completed(f"{text}old-python 3.6.8\n")).old_python == "3.6.8"


def test_an_agent_that_answers() -> None:
    answer = json.dumps({"ok": True, "report": reports.to_json(report())})
    facts = parse(completed(with_agent(answer)))
    assert (facts.release, facts.report, facts.agent_error) == (DIGEST, report(), None)


@pytest.mark.parametrize(
    ("answer", "stderr", "reason"),
    [
        ("", "no agent answers at /run/fleet-agent/agent.sock\n", "no agent answers at"),
        ("", "", "it says nothing"),
        ("[]", "", "does not say why"),
        ('{"ok": false, "error": "the disk is full"}', "", "the agent fails: the disk is full"),
        ('{"ok": true, "report": {"version": 9}}', "", "fleet apply installs the agent that fits"),
    ],
)
def test_an_agent_that_does_not(answer: str, stderr: str, reason: str) -> None:
    facts = parse(completed(with_agent(answer), stderr))
    assert facts.report is None
    assert reason in (facts.agent_error or "")


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("machine x86_64", "machine ../x"),
        ("python /usr/bin/python3", "python /tmp/a b"),
        ("python /usr/bin/python3", "python /tmp/$(id)'"),
        ("python-version 3.11.2", "python-version three"),
        ("libc glibc 2.36", "libc dietlibc 1"),
        ("boot systemd", "boot sysvinit"),
        ("clock 1700000000", "clock now"),
    ],
)
def test_nonsense_is_refused(line: str, other: str) -> None:
    with pytest.raises(ValueError, match=r"is|boot"):
        parse(completed(BARE.replace(line, other)))


def test_a_release_that_is_no_digest() -> None:
    with pytest.raises(ValueError, match="release"):
        parse(completed(f"{BARE}release ../../etc\n"))


def test_an_answer_that_is_none_names_the_host() -> None:
    transport = FakeTransport(Completed(127, b"", "sh: not found\n"))
    with pytest.raises(TransportError, match=r"^fra1: .*127.*not found"):
        gather(transport, [])


def test_the_script_runs_here() -> None:
    script = files("fleet.delivery").joinpath("facts.sh").read_bytes()
    done = subprocess.run(["/bin/sh", "-s", "--", ""], input=script, capture_output=True, timeout=60)
    facts = parse(Completed(done.returncode, done.stdout, done.stderr.decode()))
    assert facts.python is not None
    assert facts.python.version >= (3, 9)
    assert facts.free_opt is not None
    assert facts.lacks == ()


def test_a_probe_is_asked_for_by_its_option() -> None:
    for probe, words in ((True, " --probe"), (False, "")):
        transport = FakeTransport(completed(BARE))
        gather(transport, [], probe)
        assert transport.commands == [f"/bin/sh -s --{words}"]


def test_the_agent_is_asked_for_one_fleet() -> None:
    transport = FakeTransport(completed(BARE))
    gather(transport, ["ab" * 16, "acme"])
    assert transport.commands == [f"/bin/sh -s -- --fleet {'ab' * 16} --fleet acme"]


def test_what_is_installed_and_whom_it_serves() -> None:
    one, other = "ab" * 16, "cd" * 16
    folders = (
        f"fleets /var/lib/fleet-agent/fleets/{one}/state.json /var/lib/fleet-agent/fleets/{other}/state.json"
    )
    manifest = Manifest("1.2", (1, 2), userspace=True)
    facts = parse(completed(f"{with_agent('')}{folders}\nmanifest {to_text(manifest)}"))
    assert (facts.fleets, facts.manifest) == ((one, other), manifest)
    nothing = parse(completed(f"{BARE}fleets /var/lib/fleet-agent/fleets/*/state.json\n"))
    assert (nothing.fleets, nothing.manifest) == ((), None)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": "1; reboot", "bundle_versions": [1], "userspace": true}']
)
def test_a_manifest_that_makes_no_sense_is_none(text: str) -> None:
    assert parse(completed(f"{BARE}manifest {text}\n")).manifest is None


def test_an_answer_nested_without_end() -> None:
    facts = parse(completed(with_agent("[" * 100_000)))
    assert (facts.report, facts.agent_error) == (None, "the agent does not answer: it says nothing")


@pytest.mark.parametrize("path", ["/opt/python@3.11/bin/python3", "/usr/local/bin/python3.13t"])
def test_a_path_of_python(path: str) -> None:
    python = parse(completed(BARE.replace("/usr/bin/python3", path))).python
    assert python is not None
    assert python.path == path


@pytest.mark.parametrize("path", ["python3", "/a b", "/`reboot`", "/$HOME", "/a;b", "/a'", "/\x1b[2J"])
def test_what_is_no_path_of_python(path: str) -> None:
    with pytest.raises(ValueError, match="python is"):
        parse(completed(BARE.replace("/usr/bin/python3", path)))
