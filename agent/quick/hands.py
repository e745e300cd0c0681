"""Carries steps out on this host: over netlink what `ip`, `wg` and `sysctl` would do, by programs the rest.

Job: tell each step as the command that a person would type, do it, and turn what fails into one line and the
status that wg-quick would end with. Refuses to decide which step comes when. Called by run.
"""

from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Optional

from agent.host.device import DeviceEdit, DeviceState, SocketAddress
from agent.host.errors import HostError
from agent.host.network import LinkState, Network
from agent.host.process import start_tunnel
from agent.host.switch import MarkValidation
from agent.host.tunnel import Process, Tunnels
from agent.host.userspace import UserspaceDevice
from agent.log import is_journal
from agent.operations import AddInterface, RemoveInterface, SetLink
from agent.quick.conf import Parts, QuickConf
from agent.quick.facts import Facts
from agent.quick.programs import Programs
from agent.quick.routing import MAIN_RULE, Routing, table_number, tunnel_rule
from agent.quick.save import render
from agent.quick.steps import (
    AddAddress,
    AddGuard,
    AddMainRule,
    AddRoute,
    AddTunnelRule,
    Configure,
    IgnoreMark,
    RemoveGuardRules,
    RemoveGuardTables,
    RemoveMainRule,
    RemoveTunnelRule,
    RunHook,
    SaveFile,
    SetDns,
    SetMark,
    Step,
    StepError,
    UnsetDns,
    ValidateMark,
    command,
)
from agent.resident.files import replace_file
from agent.wg import lookup
from agent.wg.config import Endpoint
from agent.wg.devices import Devices
from agent.wg.edit import setconf

_BY_PROGRAMS = (SetDns, UnsetDns, AddGuard, RemoveGuardTables, RemoveGuardRules)
_OF_WG = (Configure, SetMark, SaveFile)
_IP_FAILED, _WG_FAILED = 2, 1  # what `ip` and `wg` end with when the kernel refuses
_IP_REFUSED = 255  # and `ip`, when it does not understand

_STDERR = 2
_NO_IPV6 = frozenset({errno.EACCES, errno.EAFNOSUPPORT, errno.EOPNOTSUPP})
_END_SECONDS, _STEP = 5.0, 0.01

Say = Callable[[str], None]


class Hands:
    """One file and its interface here. `said` is the file as messages name it, `file` its real path."""

    def __init__(self, conf: QuickConf, parts: Parts, said: str, file: Path, say: Say) -> None:
        self._conf = conf
        self._parts = parts
        self._said = said
        self._file = file
        self._say = say
        self._programs = Programs(os.environ)
        self._network = Network()
        self._routing = Routing()
        self._marks = MarkValidation()
        self._userspace = UserspaceDevice()
        self._tunnels = Tunnels(_spawn, self._userspace)
        self._devices = Devices()
        self.facts = Facts(self._routing, self._programs, self._marks)
        self._do: dict[type[Any], Callable[[Any], None]] = {
            AddInterface: self._add_interface,
            RemoveInterface: self._remove_interface,
            SetLink: lambda step: self._network.set_link(step.interface, step.mtu, step.up),
            Configure: self._configure,
            SetMark: lambda step: self._devices.write(step.interface, DeviceEdit(fwmark=step.mark)),
            AddAddress: lambda step: self._routing.add_address(step.interface, step.prefix),
            AddRoute: self._add_route,
            AddTunnelRule: lambda step: self._routing.add_rule(step.family, tunnel_rule(step.mark)),
            AddMainRule: lambda step: self._routing.add_rule(step.family, MAIN_RULE),
            RemoveTunnelRule: lambda step: self._routing.remove_rule(step.family, tunnel_rule(step.mark)),
            RemoveMainRule: lambda step: self._routing.remove_rule(step.family, MAIN_RULE),
            ValidateMark: lambda _: self._marks.switch_on(),
            IgnoreMark: lambda _: self._marks.switch_off(),
            SaveFile: lambda _: self.save(),
        }

    def link(self) -> Optional[LinkState]:
        """The interface, whatever it is. Raises OSError."""
        return self._network.link(self._conf.interface)

    def is_wireguard(self) -> bool:
        """Whether there is a WireGuard device of this name, whoever made it. Raises OSError."""
        link = self.link()
        if link is None or link.kind not in ("wireguard", "tun"):
            return False
        return link.kind == "wireguard" or self._userspace.is_alive(self._conf.interface)

    def device(self) -> DeviceState:
        """Raises OSError."""
        return self._devices.read(self._conf.interface)

    def lacks_shell(self) -> bool:
        """Whether there is no bash to run hooks."""
        return self._programs.find("bash") is None

    def carry_out(self, step: Step) -> None:
        """Does one step. Raises StepError."""
        line, reads = command(step)
        self._say(f"[#] {line}")
        if isinstance(step, RunHook):
            _check(line, self._programs.run_hook(line, self._conf.interface, str(self._file)))
            return
        if isinstance(step, _BY_PROGRAMS):
            _check(line, self._programs.run(line, reads))
            return
        try:
            self._do[type(step)](step)
        except OSError as error:
            status = _WG_FAILED if isinstance(step, _OF_WG) else _IP_FAILED
            hint = " (is IPv6 switched off here?)" if " -6 " in line and error.errno in _NO_IPV6 else ""
            raise StepError(f"{line}: {error.strerror or error}{hint}", status) from error
        except (HostError, ValueError) as error:
            raise StepError(str(error), _WG_FAILED) from error

    def save(self) -> None:
        """Writes the device's state into the file. Raises OSError."""
        link = self.link()
        if link is None:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        state = self.facts.saved(self._conf, link, self.device())
        replace_file(self._file, render(self._parts, state).encode("utf-8", "surrogateescape"))

    def _add_interface(self, step: AddInterface) -> None:
        try:
            self._network.add_wireguard(step.interface)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            self._say("[!] This kernel has no WireGuard: falling back to the userspace tunnel")
            self._say(f"[#] fleet-agent tunnel {step.interface}")
            self._tunnels.start(step.interface)

    def _remove_interface(self, step: RemoveInterface) -> None:
        """A tunnel process has its port until it has ended."""
        link = self._network.link(step.interface)
        process = self._userspace.process(step.interface)
        self._network.remove_link(step.interface)
        if link is not None and link.kind == "tun":
            self._tunnels.ended(step.interface)
            end = time.monotonic() + _END_SECONDS
            while process is not None and _runs(process) and time.monotonic() < end:
                time.sleep(_STEP)

    def _configure(self, step: Configure) -> None:
        retries = lookup.retries(os.environ)
        self._devices.write(
            step.interface, setconf(step.device, lambda endpoint: self._resolve(endpoint, retries))
        )

    def _resolve(self, endpoint: Endpoint, retries: Optional[int]) -> SocketAddress:
        place = f"{self._said}:{endpoint.line}: {endpoint}"
        try:
            return lookup.resolve(
                endpoint.host, endpoint.port, retries, lambda failure: self._say(f"{place}: {failure}")
            )
        except lookup.LookupFailedError as error:
            raise StepError(f"{place}: {error}", _WG_FAILED) from error

    def _add_route(self, step: AddRoute) -> None:
        try:
            table = None if step.table is None else table_number(step.table)
        except KeyError:
            why = f"iproute2 knows no routing table {step.table} (/etc/iproute2/rt_tables)"
            raise StepError(f"{command(step).line}: {why}", _IP_REFUSED) from None
        self._routing.add_route(step.interface, step.destination, table)


def _runs(process: int) -> bool:
    """Not one that has ended and that nobody has asked for its status yet (proc(5), /proc/PID/stat)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def _check(line: str, status: int) -> None:
    if status:
        raise StepError(f"{line}: ended with status {status}", status)


def _spawn(interface: str) -> Process:
    """A tunnel process that lives on; only a journal goes on hearing it."""
    return start_tunnel(interface, _STDERR if is_journal() else subprocess.DEVNULL)
