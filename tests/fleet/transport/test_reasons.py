from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import paramiko
import pytest

from fleet.transport import reasons
from fleet.transport.known_hosts import Entry


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "does not resolve"),
        (OSError(errno.ECONNREFUSED, "x"), "refuses connections"),
        (OSError(errno.EHOSTUNREACH, "x"), "no route to fra1"),
        (OSError(errno.ENETUNREACH, "x"), "no route to fra1"),
        (TimeoutError(), "does not answer"),
        (OSError(errno.ETIMEDOUT, "x"), "does not answer"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Too many open files"),
        (paramiko.SSHException("Error reading SSH protocol banner"), "no SSH server"),
        (EOFError(), "no SSH server"),
        (paramiko.ssh_exception.IncompatiblePeer("no kex"), "update its sshd"),
        (paramiko.SSHException("odd"), "odd"),
        (paramiko.SSHException(), "SSHException"),
    ],
)
def test_what_the_library_raises_becomes_one_sentence(error: Exception, words: str) -> None:
    reason = reasons.connecting(error, "fra1", 2222)
    assert words in reason
    assert "fra1" in reason
    assert "\n" not in reason


def test_an_unknown_key_names_fingerprint_and_remedy() -> None:
    reason = reasons.unknown_key("fra1", 2222, "ssh-ed25519", b"key", Path("/kh"))
    assert "SHA256:" in reason
    assert "ssh-keyscan -p 2222 fra1 >> /kh" in reason


def test_a_changed_key_names_the_line_and_the_remedy() -> None:
    entry = Entry("fra1", "ssh-ed25519", b"old", False, "/kh", 7)
    reason = reasons.changed_key("fra1", 22, "ssh-ed25519", b"new", entry)
    assert "/kh:7" in reason
    assert "ssh-keygen -R 'fra1' -f /kh" in reason


def test_a_refused_login_names_user_and_keys() -> None:
    assert "refuses ops (tried /k, a from the agent)" in reasons.refused(
        "ops", "fra1", 22, ["/k", "a from the agent"]
    )
    assert "no key at all" in reasons.refused("ops", "fra1", 22, [])
