"""What plans need to know of this host.

Job: gather facts, and decide nothing. Called by run.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Optional

from agent.host.device import DeviceState
from agent.host.network import LinkState
from agent.host.switch import MarkValidation
from agent.quick.conf import QuickConf
from agent.quick.guard import Tool
from agent.quick.plan import DownFacts, UpFacts, record
from agent.quick.programs import Programs
from agent.quick.routing import Routing
from agent.quick.save import SavedState

_ORDER = Path("/etc/resolvconf/interface-order")
_RECORDS = Path("/etc/resolvconf/run/interface")
_NAMESERVER = "nameserver"


class Facts:
    """All methods raise OSError with an errno."""

    def __init__(self, routing: Routing, programs: Programs, marks: MarkValidation) -> None:
        self._routing = routing
        self._programs = programs
        self._marks = marks

    def up(self, device: DeviceState) -> UpFacts:
        """`device` is as it is once it has its peers."""
        ends = [
            peer.endpoint.rpartition(":")[0].strip("[]") for peer in device.peers if peer.endpoint is not None
        ]
        tool: Tool = "nft" if self._programs.find("nft") else "iptables"
        return UpFacts(
            ways=tuple(self._routing.way(end) for end in ends if "%" not in end),
            default=self._routing.default_way(),
            tables=self._routing.tables(),
            tool=tool,
            resolvconf=self._programs.find("resolvconf") is not None,
            resolvconf_order=_order(),
        )

    def down(self, mark: int, prefixes: Iterable[str]) -> DownFacts:
        """`mark` and `prefixes`, all AllowedIPs, are those of the device before it goes."""
        saves = {
            family: self._programs.output(f"{program}-save") if self._programs.find(program) else ""
            for family, program in ((4, "iptables"), (6, "ip6tables"))
        }
        tables = self._programs.output("nft", "list", "tables").splitlines()
        return DownFacts(
            mark=mark,
            prefixes=tuple(prefixes),
            rules4=self._routing.rules(4, mark),
            rules6=self._routing.rules(6, mark),
            tables=tuple(line.partition(" ")[2] for line in tables if line.startswith("table ")),
            saved4=saves[4],
            saved6=saves[6],
            resolvconf_order=_order(),
            validated=self._marks.is_ours(),
            tunnels4=self._routing.tunnels(4),
        )

    def saved(self, conf: QuickConf, link: LinkState, device: DeviceState) -> SavedState:
        """The interface as a file is to have it."""
        servers = self._servers(record(conf, _order())) if conf.dns_servers else None
        return SavedState(device, self._routing.addresses(conf.interface), link.mtu, servers)

    def _servers(self, name: str) -> Optional[tuple[str, ...]]:
        """Those that resolvconf has by this name; older ones cannot be asked, but keep a file of it."""
        told = self._programs.output("resolvconf", "-l", name)
        if not told:
            try:
                told = (_RECORDS / name).read_text(errors="replace")
            except OSError:
                return None
        lines = (line.split() for line in told.splitlines())
        return tuple(words[1] for words in lines if len(words) == 2 and words[0] == _NAMESERVER) or None


def _order() -> str:
    try:
        return _ORDER.read_text(errors="replace")
    except OSError:
        return ""
