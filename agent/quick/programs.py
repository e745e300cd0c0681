"""Other programs, as wg-quick calls them: hooks by bash, resolvconf, nft, iptables.

Job: find and run them. Refuses to know what for. Called by facts and hands.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Optional

_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_NOT_FOUND = 127  # what a shell ends with that finds no program (POSIX, 2.8.2)
_BY_SIGNAL = 128


class Programs:
    """`environment` is the caller's; folders that a user's PATH often lacks are looked into last."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        folders = [folder for folder in environment.get("PATH", "").split(os.pathsep) if folder]
        path = os.pathsep.join([*folders, *(folder for folder in _FOLDERS if folder not in folders)])
        self._environment = {**environment, "PATH": path, "LC_ALL": "C"}

    def find(self, name: str) -> Optional[str]:
        """The path of a program, None where there is none."""
        return shutil.which(name, path=self._environment["PATH"])

    def run(self, line: str, reads: str) -> int:
        """Runs a command that needs no shell; its exit status, as a shell has it."""
        name, *words = shlex.split(line)
        return self._run([self.find(name) or name, *words], self._environment, reads)

    def run_hook(self, hook: str, interface: str, file: str) -> int:
        """Runs a command of a file as wg-quick does: bash, which ends at the first error, also in a pipe.

        Hooks can read two of its variables.
        """
        shell = [self.find("bash") or "bash", "-e", "-o", "pipefail", "-O", "extglob", "-c", hook]
        return self._run(shell, {**self._environment, "INTERFACE": interface, "CONFIG_FILE": file}, None)

    def output(self, *argv: str) -> str:
        """What a command prints; nothing where it fails, or there is no such program."""
        program = self.find(argv[0])
        if program is None:
            return ""
        done = subprocess.run(
            [program, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment,
            text=True,
            errors="surrogateescape",
            check=False,
        )
        return done.stdout

    def _run(self, argv: Sequence[str], environment: Mapping[str, str], reads: Optional[str]) -> int:
        try:
            done = subprocess.run(
                [os.fsencode(word) for word in argv],
                input=None if reads is None else reads.encode("utf-8", "surrogateescape"),
                env=environment,
                check=False,
            )
        except FileNotFoundError:
            return _NOT_FOUND
        return _BY_SIGNAL - done.returncode if done.returncode < 0 else done.returncode
