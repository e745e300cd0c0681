from __future__ import annotations

import os
import subprocess

import pytest

from fleet.transport.sudo import Escalation, escalation


def test_root_needs_nothing() -> None:
    found = escalation("root", True, "root", None)
    assert isinstance(found, Escalation)
    assert found.command_line("id") == "id"
    assert found.started(b"")
    assert found.strip(b"noise") == b"noise"


@pytest.mark.parametrize(
    ("become", "become_user", "words"),
    [(False, "root", "set ansible_become: true"), (True, "postgres", "ansible_become_user is postgres")],
)
def test_who_cannot_become_root_is_told_why(become: bool, become_user: str, words: str) -> None:
    found = escalation("ops", become, become_user, None)
    assert isinstance(found, str)
    assert words in found


SAID = [
    (b"sudo: a password is required", "NOPASSWD"),
    (b"ops is not in the sudoers file.  This incident has been reported.", "may not use sudo"),
    (b"Sorry, user ops is not allowed to execute '/bin/sh' as root on fra1.", "may not use sudo"),
    (b"sudo: sorry, you must have a tty to run sudo", "requiretty"),
    (b"env: 'sudo': No such file or directory", "install it on the host"),
    (b"sudo: /etc/sudoers is world writable", "world writable"),
    (b"", "no reason"),
]


@pytest.mark.parametrize(("said", "words"), SAID)
def test_each_complaint_of_sudo_has_its_cure(said: bytes, words: str) -> None:
    assert words in Escalation(True, "ops").explain(said)


def test_a_wrong_password_is_not_called_a_missing_one() -> None:
    said = b"fleet-asks-for-the-passwordSorry, try again.\nsudo: no password was provided"
    reason = Escalation(True, "ops", "secret").explain(said)
    assert "refuses ops's password" in reason
    assert "fleet-asks" not in reason
    assert "secret" not in reason


def test_the_password_is_in_no_command_line() -> None:
    assert "hunter2" not in Escalation(True, "ops", "hunter2").command_line("id")
    assert "hunter2" not in repr(Escalation(True, "ops", "hunter2"))


def test_what_the_command_says_begins_after_the_mark() -> None:
    way = Escalation(True, "ops")
    said = b"a lecture about sudo\nfleet-runs-as-root\nmine\n"
    assert way.started(said)
    assert way.strip(said) == b"mine\n"
    assert not way.started(b"a lecture about sudo\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="sudo asks others for a password")
def test_quoting_survives_sudo() -> None:
    command = """printf '%s\\n' "a  'b' $((1+1))" '$HOME'; exit 7"""
    done = subprocess.run(Escalation(True, "root").command_line(command), shell=True, capture_output=True)
    assert (done.returncode, done.stdout) == (7, b"a  'b' 2\n$HOME\n")
