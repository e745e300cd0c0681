"""Where the key that seals a fleet's state comes from.

In this order: FLEET_SEALING_KEY (base64 of 32 bytes), FLEET_SEALING_KEY_COMMAND (prints the same),
~/.config/fleet/FLEET-ID.key. Both variables leave the environment when they are read, so that no child
process inherits them. A new fleet without them gets a new key, which `commit` writes before anything is
sealed for good. Does the I/O; how sealing works is `fleet.keys.sealing`'s. Called by commands.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Callable, MutableMapping
from pathlib import Path
from threading import Lock

from agent.secret import KEY_BYTES, Secret
from fleet.errors import FleetError
from fleet.keys.sealing import Sealer

KEY_VARIABLE = "FLEET_SEALING_KEY"
COMMAND_VARIABLE = "FLEET_SEALING_KEY_COMMAND"
_COMMAND_SECONDS = 120
_LONGEST_FILE = 1024


class Keyring:
    """The sealing keys that a user has; safe for several threads.

    `home` is the user's home folder, `random` gives n random bytes.
    """

    def __init__(self, home: Path, environ: MutableMapping[str, str], random: Callable[[int], bytes]) -> None:
        self._folder = home / ".config" / "fleet"
        self._random = random
        self._given = environ.pop(KEY_VARIABLE, "")
        self._command = environ.pop(COMMAND_VARIABLE, "")
        self._environ = environ
        self._found: dict[str, Secret] = {}
        self._new: dict[str, Secret] = {}
        self._one_at_a_time = Lock()

    def file(self, fleet_id: str) -> Path:
        """Where a fleet's key is, if it is in a file."""
        return self._folder / f"{fleet_id}.key"

    def find(self, fleet_id: str) -> Sealer:
        """The sealer of a fleet that exists. Raises FleetError where there is no key, or no safe one."""
        with self._one_at_a_time:
            key = self._known(fleet_id)
        if key is None:
            raise FleetError(
                f"The key that seals the state of fleet {fleet_id} is missing: there is no "
                f"{self.file(fleet_id)}.\nWays out:\n"
                f"  copy that file from where the fleet was last applied, or from a backup (mode 0600)\n"
                f"  set {KEY_VARIABLE} to the key, or {COMMAND_VARIABLE} to a command that prints it\n"
                "  --adopt  take the fleet over as it is, with the keys that its hosts hold"
            )
        return Sealer(key)

    def create(self, fleet_id: str) -> Sealer:
        """The sealer of a fleet that is new here; a key made for it is lost unless `commit` follows."""
        with self._one_at_a_time:
            key = self._known(fleet_id)
            if key is None:
                key = self._new[fleet_id] = self._found[fleet_id] = Secret(self._random(KEY_BYTES))
        return Sealer(key)

    def commit(self) -> None:
        """Writes the keys that were made. Raises FleetError where that fails."""
        for fleet_id, key in self._new.items():
            _write(self.file(fleet_id), key.reveal_base64().encode() + b"\n")
        self._new.clear()

    def _known(self, fleet_id: str) -> Secret | None:
        key = self._found.get(fleet_id) or self._from_environment() or self._from_file(fleet_id)
        if key is not None:
            self._found[fleet_id] = key
        return key

    def _from_environment(self) -> Secret | None:
        if self._given:
            return _parse(self._given, KEY_VARIABLE)
        if self._command:
            self._given = self._run(self._command)
            return _parse(self._given, COMMAND_VARIABLE)
        return None

    def _run(self, command: str) -> str:
        try:
            done = subprocess.run(
                shlex.split(command),
                env=dict(self._environ),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                timeout=_COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise FleetError(f"{COMMAND_VARIABLE}: no answer within {_COMMAND_SECONDS} s") from None
        except subprocess.CalledProcessError as error:
            raise FleetError(f"{COMMAND_VARIABLE}: the command ended with {error.returncode}") from None
        except (OSError, ValueError, IndexError) as error:
            raise FleetError(f"{COMMAND_VARIABLE}: the command cannot be run: {error}") from None
        return done.stdout

    def _from_file(self, fleet_id: str) -> Secret | None:
        file = self.file(fleet_id)
        try:
            with file.open("rb") as stream:
                mode = os.fstat(stream.fileno()).st_mode
                content = stream.read(_LONGEST_FILE)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FleetError(f"{file}: {error.strerror}: this sealing key has to be readable") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise FleetError(
                f"{file}: others than you may read or write this sealing key (mode "
                f"{stat.S_IMODE(mode):04o}): chmod 600 it, and consider who has seen it"
            )
        return _parse(content.decode("ascii", "replace"), str(file))


def _parse(text: str, source: str) -> Secret:
    try:
        return Secret.from_base64(text.strip())
    except ValueError:
        raise FleetError(
            f"{source}: expected a sealing key, the base64 of {KEY_BYTES} random bytes"
        ) from None


def _write(file: Path, content: bytes) -> None:
    """Creates `file` durably with mode 0600, or leaves nothing under its name."""
    partial = file.with_suffix(".partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.rename(file)
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise FleetError(f"{file}: {error.strerror}: the new sealing key could not be written") from error
