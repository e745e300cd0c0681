"""Running a command as root through sudo: the command line, and what sudo's own failures mean. Pure.

A line that the command prints once it runs as root tells sudo's complaints from the command's own, and
keeps a password from ever becoming a command's input. Called by `ssh` and `local`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

_MARK = "fleet-runs-as-root"
_PROMPT = "fleet-asks-for-the-password"


@dataclass(frozen=True)
class Escalation:
    """How to become root: with sudo or without, and the password that answers sudo's prompt, if any."""

    sudo: bool
    user: str
    password: str | None = field(default=None, repr=False)

    def command_line(self, command: str) -> str:
        """`command` as it is given to the login shell."""
        if not self.sudo:
            return command
        ask = f"-S -p {_PROMPT}" if self.password is not None else "-n"
        inner = f"echo {_MARK} >&2\n{command}"
        return f"env LC_ALL=C sudo {ask} -u root -- /bin/sh -c {shlex.quote(inner)}"

    @property
    def waits(self) -> bool:
        """Whether standard input must be held back until the command runs."""
        return self.sudo and self.password is not None

    def started(self, stderr: bytes) -> bool:
        """Whether the command itself runs already."""
        return not self.sudo or _MARK.encode() in stderr

    def asked(self, stderr: bytes) -> int:
        """How often sudo has asked for the password."""
        return 0 if self.started(stderr) and self.sudo else stderr.count(_PROMPT.encode())

    def strip(self, stderr: bytes) -> bytes:
        """What the command itself wrote to its standard error."""
        if not self.sudo:
            return stderr
        return stderr.partition(_MARK.encode() + b"\n")[2]

    def explain(self, stderr: bytes) -> str:
        """Why sudo did not run the command, as a sentence with the cure."""
        text = stderr.decode(errors="replace").replace(_PROMPT, "")
        last = text.strip().splitlines()[-1].strip() if text.strip() else "it gave no reason"
        grant = f"'{self.user} ALL=(root) NOPASSWD: ALL' in /etc/sudoers.d/{self.user}"
        if "a password is required" in text or "try again" in text or "incorrect password" in text:
            if self.password is not None:
                return f"sudo refuses {self.user}'s password: correct ansible_become_password or put {grant}"
            return f"sudo asks {self.user} for a password: put {grant} on the host"
        if "not in the sudoers" in text or "is not allowed to" in text or "may not run sudo" in text:
            return f"{self.user} may not use sudo: put {grant} on the host"
        if "must have a tty" in text:
            return (
                f"sudo wants a terminal: put 'Defaults:{self.user} !requiretty' in /etc/sudoers.d/{self.user}"
            )
        if "not found" in text or "No such file" in text:
            return "there is no sudo: install it on the host, or log in as root (ansible_user: root)"
        return f"sudo did not run the command: {last}"


def escalation(user: str, become: bool, become_user: str, password: str | None) -> Escalation | str:
    """How `user` becomes root, or why they cannot, as a sentence."""
    if user == "root":
        return Escalation(False, user)
    if not become:
        return f"logs in as {user}, who is not root: set ansible_become: true, or ansible_user: root"
    if become_user != "root":
        return f"ansible_become_user is {become_user}: changing a network needs root"
    return Escalation(True, user, password)
