"""Which host keys are known: OpenSSH's known_hosts files, as sshd(8) describes them. Pure.

Matches patterns, negation, hashed names and `[host]:port`, accepts any of several keys a host may have,
and refuses revoked ones. Certificate authorities are not supported: such lines are left out. Refuses to
know files and connections. Called by `ssh`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Verdict = Literal["known", "unknown", "changed", "revoked"]


@dataclass(frozen=True)
class Entry:
    """One line: whose key (`names` as written), its type and bytes, and where it was read."""

    names: str
    key_type: str
    key: bytes
    revoked: bool
    file: str
    line: int

    def matches(self, name: str) -> bool:
        """Whether the line speaks of `name` (`host` or `[host]:port`)."""
        if self.names.startswith("|1|"):
            return _matches_hash(self.names, name)
        hit = False
        for pattern in self.names.lower().split(","):
            negated = pattern.startswith("!")
            if fnmatchcase(name.lower(), _as_glob(pattern[negated:])):
                if negated:
                    return False
                hit = True
        return hit


@dataclass(frozen=True)
class KnownHosts:
    """What the files say, in order."""

    entries: tuple[Entry, ...]

    def of(self, host: str, port: int) -> tuple[Entry, ...]:
        """The lines for a host; those for its bare name count where its port has none, as in OpenSSH."""
        found = tuple(entry for entry in self.entries if entry.matches(lookup_name(host, port)))
        if port != 22 and not any(not entry.revoked for entry in found):
            found += tuple(entry for entry in self.entries if entry.matches(host))
        return found


def parse(text: str, file: str) -> tuple[Entry, ...]:
    """The lines of one file; those that are malformed are skipped, as OpenSSH does."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#") or marker not in ("", "@revoked"):
            continue
        try:
            key = base64.b64decode(fields[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        entries.append(Entry(fields[0], fields[1], key, marker == "@revoked", file, number))
    return tuple(entries)


def judge(entries: Iterable[Entry], key: bytes) -> tuple[Verdict, Entry | None]:
    """What the lines for a host say of the `key` it showed, and the line that decides."""
    known = list(entries)
    for entry in known:
        if entry.revoked and entry.key == key:
            return "revoked", entry
    valid = [entry for entry in known if not entry.revoked]
    for entry in valid:
        if entry.key == key:
            return "known", entry
    return ("changed", valid[0]) if valid else ("unknown", None)


def lookup_name(host: str, port: int) -> str:
    """How known_hosts calls a host."""
    return host if port == 22 else f"[{host}]:{port}"


def fingerprint(key: bytes) -> str:
    """A key's fingerprint as ssh-keygen -l prints it."""
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def _as_glob(pattern: str) -> str:
    """Only * and ? are special in known_hosts; the brackets of `[host]:port` are plain."""
    return pattern.replace("[", "[[]")


def _matches_hash(names: str, name: str) -> bool:
    try:
        _, _, salt, digest = names.split("|")
        wanted = base64.b64decode(digest)
        made = hmac.new(base64.b64decode(salt), name.lower().encode(), hashlib.sha1).digest()
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(wanted, made)
