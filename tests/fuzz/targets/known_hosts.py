"""A known_hosts file: its lines say of a host what a slow reading of sshd(8) says."""

from __future__ import annotations

import base64
import hmac

from fleet.transport.known_hosts import Entry, KnownHosts, fingerprint, judge, lookup_name, parse

TOKENS = (
    b"@revoked ",
    b"@cert-authority ",
    b"|1|",
    b"ssh-ed25519 ",
    b"AAAA",
    b"oslo",
    b"[oslo]:2222",
    b"!",
    b"*",
    b"?",
    b",",
    b"# ",
)
_HOSTS = (("oslo", 22), ("oslo", 2222), ("10.0.0.1", 22), ("fd00::1", 22), ("a[1]", 22))


def check(data: bytes) -> None:
    """One file's text."""
    text = data.decode(errors="replace")
    entries = parse(text, "known_hosts")
    lines = text.splitlines()
    for entry in entries:
        fields = lines[entry.line - 1].split()
        assert fields[0] == "@revoked" if entry.revoked else fields[0] == entry.names
        assert base64.b64decode(fields[2 + entry.revoked]) == entry.key
        assert fingerprint(entry.key).startswith("SHA256:")
    for host, port in _HOSTS:
        found = KnownHosts(entries).of(host, port)
        name = lookup_name(host, port)
        right = [entry for entry in entries if _speaks_of(entry, name)]
        if port != 22 and not any(not entry.revoked for entry in right):
            right += [entry for entry in entries if _speaks_of(entry, host)]
        assert list(found) == right
        _check_verdicts(found, right)


def _check_verdicts(found: tuple[Entry, ...], right: list[Entry]) -> None:
    for key in {entry.key for entry in right} | {b"never seen"}:
        verdict, _ = judge(found, key)
        of_key = [entry for entry in right if entry.key == key]
        if any(entry.revoked for entry in of_key):
            assert verdict == "revoked"
        elif of_key:
            assert verdict == "known"
        else:
            assert verdict == ("changed" if any(not entry.revoked for entry in right) else "unknown")


def _speaks_of(entry: Entry, name: str) -> bool:
    if entry.names.startswith("|1|"):
        parts = entry.names.split("|")
        try:
            salt, digest = (base64.b64decode(part) for part in parts[2:])
        except ValueError:
            return False
        return hmac.digest(salt, name.lower().encode(), "sha1") == digest
    patterns = entry.names.lower().split(",")
    if any(_matches(pattern[1:], name) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(_matches(pattern, name) for pattern in patterns if not pattern.startswith("!"))


def _matches(pattern: str, name: str) -> bool:
    """`?` is any one character, `*` any number of them; row by row through the name."""
    reached = {0}
    for character in pattern:
        if character == "*":
            reached = set(range(min(reached), len(name) + 1)) if reached else reached
        else:
            reached = {at + 1 for at in reached if at < len(name) and character in ("?", name[at])}
    return len(name) in reached
