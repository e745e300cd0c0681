"""Our firewall tables: one an interface, replaced whole, and seen exactly as they are.

Job: write and remove them, and tell whether one is still what was written. What it was written for and what
nft then printed is kept in a file that, like the table, is gone at reboot. Refuses to touch any other table,
and to look where no interface has or had one: most hosts need no nftables. Called by host.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from agent.bundle import Gateway
from agent.codec import CodecError, decode, encode, loads
from agent.egress import Guard
from agent.host import ruleset
from agent.host.errors import HostError
from agent.host.nftables import MissingError, Nftables, NftError
from agent.host.switch import RUN
from agent.report import ObservedFirewall

_PREFIX = "firewall-"
_FIRST_RELEASE = (5, 7)
"""The first Linux that knows in postrouting where a packet came in (net/ipv4/ip_output.c, ip_output)."""


@dataclass(frozen=True)
class _Table:
    """What a table was written for."""

    gateway: Optional[Gateway]
    guard: Optional[Guard]


class Firewall:
    """`run` holds the memory; `release` is the kernel's, as uname has it."""

    def __init__(
        self, run: Path = RUN, nftables: Optional[Nftables] = None, release: Optional[str] = None
    ) -> None:
        self._run = run
        self._nftables = nftables or Nftables()
        self._release = release or os.uname().release
        self._seen: Optional[tuple[Any, tuple[ObservedFirewall, ...]]] = None

    def observe(self, interfaces: Iterable[str]) -> tuple[ObservedFirewall, ...]:
        """The tables of `interfaces`, and those that were written once and are there still.

        nft is only asked if the kernel says that any table changed since. Raises HostError.
        """
        names = sorted({*interfaces, *self._remembered()})
        if not names:
            return ()
        generation = self._nftables.generation()
        if self._seen is not None and generation is not None and self._seen[0] == (generation, names):
            return self._seen[1]
        try:
            found = tuple(seen for seen in map(self._observe, names) if seen is not None)
        except MissingError:
            return ()
        except NftError as error:
            raise HostError(f"firewall: nft does not tell what there is: {error}") from error
        self._seen = ((generation, names), found)
        return found

    def write(self, interface: str, gateway: Optional[Gateway], guard: Optional[Guard] = None) -> None:
        """Makes the interface's table this, in one transaction. Raises HostError."""
        if gateway is not None and gateway.masquerade and _number(self._release) < _FIRST_RELEASE:
            raise HostError(
                f"{interface}: masquerade needs Linux 5.7 or newer, and this is {self._release}: upgrade its "
                "kernel, or take fleet_masquerade away from this host"
            )
        self._seen = None
        try:
            self._nftables.load(ruleset.replacement(interface, gateway, guard))
            listing = self._nftables.table(ruleset.table_name(interface))
        except MissingError as error:
            raise HostError(f"{interface}: {_missing(gateway, guard)}") from error
        except NftError as error:
            raise HostError(f"{interface}: its firewall table cannot be made: {error}") from error
        self._remember(interface, {"table": encode(_Table(gateway, guard)), "listing": listing})

    def remove(self, interface: str) -> None:
        """Removes the interface's table if it is there. Raises HostError."""
        self._seen = None
        with contextlib.suppress(MissingError):
            try:
                self._nftables.load(ruleset.removal(interface))
            except MissingError:
                raise
            except NftError as error:
                raise HostError(f"{interface}: its firewall table cannot be removed: {error}") from error
        with contextlib.suppress(FileNotFoundError):
            self._file(interface).unlink()

    def _observe(self, interface: str) -> Optional[ObservedFirewall]:
        found = self._nftables.table(ruleset.table_name(interface))
        if found is None:
            return None
        try:
            memory = loads(self._file(interface).read_bytes())
            table, written = decode(_Table, memory["table"]), memory["listing"]
            altered = ruleset.alteration(written, found)
            return ObservedFirewall(interface, table.gateway, altered, table.guard)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, CodecError):
            return ObservedFirewall(interface, None, "of unknown origin")

    def _remembered(self) -> list[str]:
        with contextlib.suppress(OSError):
            return [path.name[len(_PREFIX) :] for path in self._run.glob(_PREFIX + "*")]
        return []

    def _remember(self, interface: str, memory: Any) -> None:
        file = self._file(interface)
        fresh = file.with_name(f".{file.name}")
        try:
            self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_text(json.dumps(memory))
            fresh.replace(file)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise HostError(f"{file} cannot be written: {error.strerror}") from error

    def _file(self, interface: str) -> Path:
        return self._run / (_PREFIX + interface)


def _number(release: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", release)[:2]))


def _missing(gateway: Optional[Gateway], guard: Optional[Guard]) -> str:
    if guard is not None:
        return (
            "a full tunnel needs the program nft, without which the host could no longer be called from "
            "outside: install nftables, then apply again (or take fleet_egress away from this host)"
        )
    if gateway is not None and gateway.masquerade:
        return "masquerade needs the program nft: install nftables, then apply again"
    return (
        "clamping the MSS of TCP connections needs the program nft: install nftables, then apply again (or "
        "take fleet_clamp_mss away from this host)"
    )
