"""What `up` and `down` do, one step a value, and each as the command that a person would type.

Devices and links come and go by the operations of `agent.operations`. Pure. Refuses to know why a step is
taken. Called by plan and hands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Optional, Union

from agent.operations import AddInterface, RemoveInterface, SetLink
from agent.quick import guard
from agent.quick.guard import Family
from agent.wg.config import Config

_INPUT = "/dev/stdin"


@dataclass(frozen=True)
class RunHook:
    """Have a shell run a command of the file."""

    command: str


@dataclass(frozen=True)
class Configure:
    """Give a new device all that the file says about it. `text` is what it says."""

    interface: str
    device: Config
    text: str = field(repr=False)


@dataclass(frozen=True)
class AddAddress:
    """`address` is IP or IP/LENGTH; without a length it is the address alone."""

    interface: str
    address: str

    @property
    def prefix(self) -> str:
        """`IP/LENGTH`."""
        return self.address if "/" in self.address else f"{self.address}/{128 if ':' in self.address else 32}"


@dataclass(frozen=True)
class SetDns:
    """Have the host ask these servers alone. `record` is the name that resolvconf knows this by."""

    record: str
    servers: tuple[str, ...]
    domains: tuple[str, ...]


@dataclass(frozen=True)
class UnsetDns:
    """Undo SetDns; not being able to is no failure."""

    record: str


@dataclass(frozen=True)
class AddRoute:
    """Route through the interface; `table` is a number or a name, None for the main one."""

    interface: str
    destination: str
    table: Optional[str] = None


@dataclass(frozen=True)
class SetMark:
    """Mark what the device sends, so that rules know it."""

    interface: str
    mark: int


@dataclass(frozen=True)
class AddTunnelRule:
    """What is not marked so looks into the table of this number."""

    family: Family
    mark: int


@dataclass(frozen=True)
class AddMainRule:
    """Routes of the main table come first, except for default ones."""

    family: Family


@dataclass(frozen=True)
class RemoveTunnelRule:
    """Undo one AddTunnelRule."""

    family: Family
    mark: int


@dataclass(frozen=True)
class RemoveMainRule:
    """Undo one AddMainRule."""

    family: Family


@dataclass(frozen=True)
class ValidateMark:
    """Have reverse path filters (IPv4) reckon with marks: net.ipv4.conf.all.src_valid_mark."""


@dataclass(frozen=True)
class IgnoreMark:
    """Undo ValidateMark."""


@dataclass(frozen=True)
class AddGuard:
    """Drop what comes for the tunnel's addresses in another way, and mark answers to what the device sent."""

    interface: str
    family: Family
    addresses: tuple[str, ...]
    mark: int
    tool: guard.Tool


@dataclass(frozen=True)
class RemoveGuardTables:
    """Remove nftables tables, each `FAMILY NAME`."""

    tables: tuple[str, ...]


@dataclass(frozen=True)
class RemoveGuardRules:
    """Remove rules of iptables; `text` is what its restore takes."""

    family: Family
    text: str


@dataclass(frozen=True)
class SaveFile:
    """Write the device's state to the file that it came from."""

    interface: str


Step = Union[
    RunHook,
    AddInterface,
    Configure,
    AddAddress,
    SetLink,
    SetDns,
    UnsetDns,
    AddRoute,
    SetMark,
    AddTunnelRule,
    AddMainRule,
    RemoveTunnelRule,
    RemoveMainRule,
    ValidateMark,
    IgnoreMark,
    AddGuard,
    RemoveGuardTables,
    RemoveGuardRules,
    SaveFile,
    RemoveInterface,
]


class StepError(Exception):
    """A step failed: one line for people, and the status to end with."""

    def __init__(self, line: str, status: int) -> None:
        super().__init__(line)
        self.status = status


class Command(NamedTuple):
    """A command as typed, and what it reads; `reads` may hold keys, `line` holds none."""

    line: str
    reads: str = ""


def command(step: Step) -> Command:
    """The command that does a step."""
    if isinstance(step, RunHook):
        return Command(step.command)
    if isinstance(step, (SetDns, UnsetDns)):
        return _dns(step)
    if isinstance(step, (AddGuard, RemoveGuardTables, RemoveGuardRules)):
        return _guard(step)
    if isinstance(step, (AddTunnelRule, AddMainRule, RemoveTunnelRule, RemoveMainRule)):
        return Command(_rule(step))
    if isinstance(step, AddRoute):
        where = f"dev {step.interface}" + ("" if step.table is None else f" table {step.table}")
        return Command(f"ip {_family(step.destination)} route add {step.destination} {where}")
    if isinstance(step, AddAddress):
        return Command(f"ip {_family(step.address)} address add {step.address} dev {step.interface}")
    if isinstance(step, Configure):
        return Command(f"wg setconf {step.interface} {_INPUT}", step.text)
    return Command(_device(step))


def _device(
    step: Union[AddInterface, SetLink, SetMark, ValidateMark, IgnoreMark, SaveFile, RemoveInterface],
) -> str:
    if isinstance(step, AddInterface):
        return f"ip link add {step.interface} type wireguard"
    if isinstance(step, SetLink):
        return f"ip link set mtu {step.mtu} up dev {step.interface}"
    if isinstance(step, SetMark):
        return f"wg set {step.interface} fwmark {step.mark}"
    if isinstance(step, (ValidateMark, IgnoreMark)):
        return f"sysctl -q net.ipv4.conf.all.src_valid_mark={int(isinstance(step, ValidateMark))}"
    if isinstance(step, SaveFile):
        return f"wg showconf {step.interface}"
    return f"ip link delete dev {step.interface}"


def _rule(step: Union[AddTunnelRule, AddMainRule, RemoveTunnelRule, RemoveMainRule]) -> str:
    verb = "add" if isinstance(step, (AddTunnelRule, AddMainRule)) else "delete"
    if isinstance(step, (AddMainRule, RemoveMainRule)):
        which = "table main suppress_prefixlength 0"
    elif isinstance(step, AddTunnelRule):
        which = f"not fwmark {step.mark} table {step.mark}"
    else:
        which = f"table {step.mark}"
    return f"ip -{step.family} rule {verb} {which}"


def _dns(step: Union[SetDns, UnsetDns]) -> Command:
    if isinstance(step, UnsetDns):
        return Command(f"resolvconf -d {step.record} -f")
    lines = [f"nameserver {server}\n" for server in step.servers]
    if step.domains:
        lines.append(f"search {' '.join(step.domains)}\n")
    return Command(f"resolvconf -a {step.record} -m 0 -x", "".join(lines))


def _guard(step: Union[AddGuard, RemoveGuardTables, RemoveGuardRules]) -> Command:
    if isinstance(step, RemoveGuardTables):
        return Command(f"nft -f {_INPUT}", guard.without_tables(step.tables))
    if isinstance(step, RemoveGuardRules):
        return Command(f"{guard.restore(step.family)} -n", step.text)
    if step.tool == "nft":
        text = guard.nft(step.interface, step.family, step.addresses, step.mark)
        return Command(f"nft -f {_INPUT}", text)
    text = guard.iptables(step.interface, step.addresses, step.mark)
    return Command(f"{guard.restore(step.family)} -n", text)


def _family(ip: str) -> str:
    return "-6" if ":" in ip else "-4"
