"""Settings of the kernel that we switch on, and off again only where they were off before us.

Job: remember in a file what was switched on, and what else changes with it; like the settings themselves, the
file is gone at reboot. Called by forwarding, which adds what forwarding has of its own, by host and by quick.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from agent.host.errors import HostError

SYSCTL = Path("/proc/sys/net")
RUN = Path("/run/fleet-agent")


class Switch:
    """`settings` are paths below `sysctl`; the memory is the file `name` in the folder `run`.

    `beside` has, for some of the settings, patterns of others that change with them, by the kernel or by us:
    what these were is restored too.
    """

    def __init__(
        self,
        name: str,
        settings: tuple[str, ...],
        sysctl: Path = SYSCTL,
        run: Path = RUN,
        beside: Mapping[str, tuple[str, ...]] = {},
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
            self._remember(off)
            self._prepare(off)
        for setting in off:
            self._write(setting, "1")

    def switch_off(self) -> None:
        """Back to what was before `switch_on`. Raises HostError."""
        remembered = self._remembered()
        for setting in self._settings:
            if setting in remembered:
                self._write(setting, "0")
        for setting, value in remembered.items():
            if self._read(setting) not in (None, value):  # None: its interface is gone
                self._write(setting, value)
        with contextlib.suppress(FileNotFoundError):
            self._memory.unlink()

    def _prepare(self, off: list[str]) -> None:
        """What has to be done before those of the settings that are off go on."""

    def _remember(self, settings: list[str]) -> None:
        """That `settings` are off, and what else changes with them, before the first change."""
        known = self._remembered()
        found = {**known}
        for setting in settings:
            if setting not in known:
                found.update({setting: "0", **self._present(self._beside.get(setting, ()))})
        if found == known:
            return
        lines = [f"{setting}={value}" for setting, value in found.items()]
        fresh = self._memory.with_name(f".{self._memory.name}")
        try:
            self._memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_text("\n".join(lines) + "\n")
            fresh.replace(self._memory)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise HostError(f"{self._memory} cannot be written: {error.strerror}") from error

    def _present(self, patterns: tuple[str, ...]) -> dict[str, str]:
        """The settings that `patterns` mean, but those to be switched, and their values."""
        paths = [path for pattern in patterns for path in sorted(self._sysctl.glob(pattern))]
        names = [str(path.relative_to(self._sysctl)) for path in paths]
        values = {name: self._read(name) for name in names if name not in self._settings}
        return {name: value for name, value in values.items() if value is not None}

    def _remembered(self) -> dict[str, str]:
        """Settings and what they were; an earlier release wrote only those that were off."""
        try:
            pairs = [line.partition("=") for line in self._memory.read_text().splitlines()]
        except OSError:
            return {}
        return {name: value or "0" for name, _, value in pairs if self._is_ours(name)}

    def _is_ours(self, name: str) -> bool:
        patterns = [pattern for patterns in self._beside.values() for pattern in patterns]
        return name in self._settings or (
            ".." not in name and any(fnmatchcase(name, pattern) for pattern in patterns)
        )

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
