"""Settings of the kernel that we switch on, and off again only where they were off before us.

Job: remember in a file what was switched on; like the setting itself, the file is gone at reboot. Called by
forwarding, which adds what forwarding has of its own, by host and by quick.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from agent.host.errors import HostError

SYSCTL = Path("/proc/sys/net")
RUN = Path("/run/fleet-agent")


class Switch:
    """`settings` are paths below `sysctl`; the memory is the file `name` in the folder `run`.

    `beside` are settings that the kernel switches on as ours go off: where they were off, they are again.
    """

    def __init__(
        self,
        name: str,
        settings: tuple[str, ...],
        sysctl: Path = SYSCTL,
        run: Path = RUN,
        beside: tuple[str, ...] = (),
    ) -> None:
        self._name = name
        self._settings = settings
        self._beside = beside
        self._sysctl = sysctl
        self._memory = run / name

    def is_on(self) -> bool:
        """Whether all of the settings are on that this host has."""
        present = [value for value in map(self._read, self._settings) if value is not None]
        return bool(present) and all(value != "0" for value in present)

    def is_ours(self) -> bool:
        """Whether something is on because of `switch_on`."""
        return bool(self._remembered())

    def switch_on(self) -> None:
        """Raises HostError."""
        off = [setting for setting in self._settings if self._read(setting) == "0"]
        if off:
            self._remember([*off, *(setting for setting in self._beside if self._read(setting) == "0")])
            self._prepare(off)
        for setting in off:
            self._write(setting, "1")

    def switch_off(self) -> None:
        """Back to what was before `switch_on`. Raises HostError."""
        for setting in self._remembered():
            self._write(setting, "0")
        with contextlib.suppress(FileNotFoundError):
            self._memory.unlink()

    def _prepare(self, off: list[str]) -> None:
        """What has to be done before those of the settings that are off go on."""

    def _remember(self, settings: list[str]) -> None:
        known = self._remembered()
        if set(settings) <= set(known):
            return
        try:
            self._memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._memory.write_text("\n".join(dict.fromkeys([*known, *settings])) + "\n")
        except OSError as error:
            raise HostError(f"{self._memory} cannot be written: {error.strerror}") from error

    def _remembered(self) -> list[str]:
        try:
            lines = self._memory.read_text().splitlines()
        except OSError:
            return []
        return [line for line in lines if line in (*self._settings, *self._beside)]

    def _read(self, setting: str) -> str | None:
        try:
            return (self._sysctl / setting).read_text().strip()
        except OSError:
            return None

    def _write(self, setting: str, value: str) -> None:
        path = self._sysctl / setting
        try:
            path.write_text(value)
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                name = "net." + setting.replace("/", ".")
                raise HostError(
                    f"{self._name}: {path} may not be written here (a container or a sandbox?): "
                    f"set {name}={value} from outside, then apply again"
                ) from error
            raise HostError(f"{self._name}: {path}: {os.strerror(error.errno or 0)}") from error


class MarkValidation(Switch):
    """Reverse path filters (IPv4) look routes up with the mark that a packet carries.

    Source: Linux, Documentation/networking/ip-sysctl.rst, src_valid_mark.
    """

    def __init__(self, sysctl: Path = SYSCTL, run: Path = RUN) -> None:
        super().__init__("src_valid_mark", ("ipv4/conf/all/src_valid_mark",), sysctl, run)
