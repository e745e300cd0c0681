from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.transport.known_hosts import KnownHosts, Verdict, fingerprint, judge, parse

KEY = b"\0\0\0\x0bssh-ed25519" + bytes(36)
OTHER = b"\0\0\0\x0bssh-ed25519" + bytes([1] * 36)


def line(names: str, key: bytes = KEY, marker: str = "") -> str:
    return f"{marker} {names} ssh-ed25519 {base64.b64encode(key).decode()} a comment".strip()


def verdict(text: str, host: str, port: int = 22, key: bytes = KEY) -> Verdict:
    return judge(KnownHosts(parse(text, "file")).of(host, port), key)[0]


@pytest.mark.parametrize(
    ("names", "host", "port", "expected"),
    [
        ("fra1", "fra1", 22, "known"),
        ("fra1", "FRA1", 22, "known"),
        ("fra1,203.0.113.1", "203.0.113.1", 22, "known"),
        ("fra1", "fra2", 22, "unknown"),
        ("fra1", "fra1x", 22, "unknown"),
        ("*.example.net", "a.example.net", 22, "known"),
        ("*.example.net,!b.example.net", "b.example.net", 22, "unknown"),
        ("fra?", "fra1", 22, "known"),
        ("[fra1]:2222", "fra1", 2222, "known"),
        ("[fra1]:2222", "fra1", 22, "unknown"),
        ("[fra1]:2222", "f", 2222, "unknown"),
        ("fra1", "fra1", 2222, "known"),
        ("[2001:db8::1]:2222", "2001:db8::1", 2222, "known"),
    ],
)
def test_names_match_as_in_openssh(names: str, host: str, port: int, expected: Verdict) -> None:
    assert verdict(line(names), host, port) == expected


def test_another_key_is_a_change_and_names_its_line() -> None:
    found = KnownHosts(parse("# comment\n" + line("fra1"), "kh")).of("fra1", 22)
    result, entry = judge(found, OTHER)
    assert result == "changed"
    assert entry is not None
    assert (entry.file, entry.line) == ("kh", 2)


def test_any_of_several_keys_is_known() -> None:
    assert verdict(line("fra1", OTHER) + "\n" + line("fra1"), "fra1") == "known"


def test_a_port_of_its_own_hides_the_bare_name() -> None:
    assert verdict(line("[fra1]:2222", OTHER) + "\n" + line("fra1"), "fra1", 2222) == "changed"


def test_a_revoked_key_is_refused_though_it_is_known_too() -> None:
    assert verdict(line("fra1") + "\n" + line("*", marker="@revoked"), "fra1") == "revoked"


def test_certificate_authorities_do_not_count_as_host_keys() -> None:
    assert verdict(line("fra1", marker="@cert-authority"), "fra1") == "unknown"


def test_hashed_names_and_fingerprints_are_those_of_ssh_keygen(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "k"], check=True)
    kind, blob, *_ = (tmp_path / "k.pub").read_text().split()
    known = tmp_path / "known_hosts"
    known.write_text(f"fra1 {kind} {blob}\n[sgp1]:2222 {kind} {blob}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
    text = known.read_text()
    assert "fra1" not in text
    key = base64.b64decode(blob)
    assert verdict(text, "fra1", 22, key) == "known"
    assert verdict(text, "sgp1", 2222, key) == "known"
    assert verdict(text, "fra2", 22, key) == "unknown"
    printed = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "k.pub"], capture_output=True, text=True, check=True
    )
    assert fingerprint(key) in printed.stdout


@given(st.text())
def test_no_file_makes_it_fail(text: str) -> None:
    judge(KnownHosts(parse(text, "file")).of("fra1", 22), KEY)


@given(st.text(alphabet="|1=aA/,*?![]:", max_size=40), st.text(max_size=10))
def test_no_name_makes_it_fail(names: str, host: str) -> None:
    KnownHosts(parse(line(names or "x"), "file")).of(host, 2222)
