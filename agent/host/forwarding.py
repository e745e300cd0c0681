"""IP forwarding of both families, through /proc/sys. Called by host.

A host that forwards IPv6 ignores router advertisements (Linux, Documentation/networking/ip-sysctl.rst,
accept_ra), which would cost it its default route: interfaces that accepted them go on doing so. One that
does not forward IPv4 any more accepts redirects (net/ipv4/devinet.c, inet_forward_change): not if it did not
before.
"""

from __future__ import annotations

from pathlib import Path

from agent.host.switch import RUN, SYSCTL, Switch

_SETTINGS = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")
_REDIRECTS = "ipv4/conf/all/accept_redirects"
_CONSTRAINED = "1"
_ALWAYS = "2"


class Forwarding(Switch):
    """Every family that the host has is forwarded."""

    def __init__(self, sysctl: Path = SYSCTL, run: Path = RUN) -> None:
        super().__init__("forwarding", _SETTINGS, sysctl, run, beside=(_REDIRECTS,))

    def _prepare(self, off: list[str]) -> None:
        if _SETTINGS[1] not in off:
            return
        for setting in (self._sysctl / "ipv6/conf").glob("*/accept_ra"):
            name = str(setting.relative_to(self._sysctl))
            if self._read(name) == _CONSTRAINED:
                self._write(name, _ALWAYS)
