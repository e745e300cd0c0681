"""IP forwarding of both families, through /proc/sys.

Job: switch it on, and off again only where it was off before us: what was switched on is written down
in a file that, like the setting itself, is gone at reboot. Called by host.

A host that forwards IPv6 ignores router advertisements (Linux, Documentation/networking/ip-sysctl.rst,
accept_ra), which would cost it its default route: interfaces that accepted them go on doing so.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from agent.host.errors import HostError

SYSCTL = Path("/proc/sys/net")
RUN = Path("/run/fleet-agent")
_MEMORY = "forwarding"
_SETTINGS = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")
_CONSTRAINED = "1"
_ALWAYS = "2"


class Forwarding:
    """The settings below `sysctl`, the memory in the folder `run`."""

    def __init__(self, sysctl: Path = SYSCTL, run: Path = RUN) -> None:
        self._sysctl = sysctl
        self._memory = run / _MEMORY

    def is_on(self) -> bool:
        """Whether every family that the host has is forwarded."""
        present = [value for value in map(self._read, _SETTINGS) if value is not None]
        return bool(present) and all(value != "0" for value in present)

    def switch_on(self) -> None:
        """Raises HostError."""
        off = [setting for setting in _SETTINGS if self._read(setting) == "0"]
        self._remember(off)
        if _SETTINGS[1] in off:
            self._keep_router_advertisements()
        for setting in off:
            self._write(setting, "1")

    def switch_off(self) -> None:
        """Back to what was before `switch_on`. Raises HostError."""
        for setting in self._remembered():
            self._write(setting, "0")
        with contextlib.suppress(FileNotFoundError):
            self._memory.unlink()

    def _keep_router_advertisements(self) -> None:
        for setting in (self._sysctl / "ipv6/conf").glob("*/accept_ra"):
            name = str(setting.relative_to(self._sysctl))
            if self._read(name) == _CONSTRAINED:
                self._write(name, _ALWAYS)

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
        return [line for line in lines if line in _SETTINGS]

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
                    f"forwarding: {path} may not be written here (a container or a sandbox?): "
                    f"set {name}={value} from outside, then apply again"
                ) from error
            raise HostError(f"forwarding: {path}: {os.strerror(error.errno or 0)}") from error
