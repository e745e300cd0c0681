"""IP forwarding of both families, through /proc/sys. Called by host.

Switching changes more than the switch: the kernel sets the forwarding of every interface with it, and whether
redirects are accepted (Linux, net/ipv4/devinet.c, inet_forward_change; net/ipv6/addrconf.c,
addrconf_fixup_forwarding). A host that forwards IPv6 ignores router advertisements
(Documentation/networking/ip-sysctl.rst, accept_ra), which would cost it its default route: interfaces that
accepted them go on doing so.
"""

from __future__ import annotations

from pathlib import Path

from agent.host.switch import RUN, SYSCTL, Switch

_SETTINGS = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")
_BESIDE = {
    _SETTINGS[0]: ("ipv4/conf/*/forwarding", "ipv4/conf/all/accept_redirects"),
    _SETTINGS[1]: ("ipv6/conf/*/forwarding", "ipv6/conf/*/accept_ra"),
}
_CONSTRAINED = "1"
_ALWAYS = "2"


class Forwarding(Switch):
    """Every family that the host has is forwarded."""

    def __init__(self, sysctl: Path = SYSCTL, run: Path = RUN) -> None:
        super().__init__("forwarding", _SETTINGS, sysctl, run, beside=_BESIDE)

    def _prepare(self, off: list[str]) -> None:
        if _SETTINGS[1] not in off:
            return
        for setting in (self._sysctl / "ipv6/conf").glob("*/accept_ra"):
            name = str(setting.relative_to(self._sysctl))
            if self._read(name) == _CONSTRAINED:
                self._write(name, _ALWAYS)
