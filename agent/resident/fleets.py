"""The fleets that this host is in: one member each, with a folder of its own named after the fleet's id.

Job: find the member that a request means, let a new fleet in beside the others or in the place of one
with its name, let go of one that the host has left. Refuses to know how a member keeps the host. Called
by service.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from agent import places
from agent.bundle import Bundle, check_fleet
from agent.log import log
from agent.resident.admission import RefusedError, read
from agent.resident.files import private_folder
from agent.resident.member import Member, Shared
from agent.resident.store import Contents, Store, StoreError


class Fleets:
    """What is kept below `state`."""

    def __init__(self, around: Shared, state: Path) -> None:
        self._around = around
        self._state = state
        self._folder = state / places.FLEETS
        self._members: dict[str, Member] = {}

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(self._members.values())

    def load(self) -> None:
        """Remembers what was kept. One that cannot be read is a member all the same, which says so."""
        for folder in sorted(self._folder.glob("*")):
            store = Store(folder)
            if not (_is_fleet(folder.name) and store.exists()):
                continue
            member = self._member(store)
            member.engine.load()
            self._enter(member)

    def find(self, words: Sequence[str]) -> Optional[Member]:
        """The member whose id is one of `words`, or else whose name; the only one where there are no words.

        Raises RefusedError where there are no words and several members.
        """
        if not words:
            if len(self._members) > 1:
                names = ", ".join(self._name(fleet) for fleet in self._members)
                raise RefusedError(f"this host is in several fleets, {names}: say which, with --fleet NAME")
            return next(iter(self._members.values()), None)
        by_name = {self._name(fleet): member for fleet, member in self._members.items()}
        for known in (self._members, by_name):
            for word in words:
                if word in known:
                    return known[word]
        return None

    def nobody(self) -> Member:
        """Stands for a fleet that this host is not in: it keeps nothing, and reports the host as it is."""
        return self._member(Store(self._folder / "none"))

    def take(self, bundle: Any, secrets: Any, replace_fleet: bool) -> Member:
        """Keeps a bundle that a client sent; whose it is now. Raises RefusedError, StoreError."""
        wanted, given = read(bundle, secrets)
        namesake = self._namesake(wanted)
        member = self._members.get(wanted.fleet)
        if member is not None and namesake is not None:
            raise RefusedError(
                f'this host is in another fleet that is called "{wanted.fleet_name}" too: rename one of them'
            )
        member = member or namesake or self._member(Store(self._folder / wanted.fleet))
        try:
            private_folder(self._state)
            private_folder(self._folder)
        except OSError as error:
            raise StoreError(f"{self._folder} cannot be made: {error.strerror}") from None
        try:
            member.engine.take(wanted, given, replace_fleet)
        finally:
            if not member.store.exists():
                with contextlib.suppress(OSError):
                    member.store.remove()
        self._members = {fleet: held for fleet, held in self._members.items() if held is not member}
        self._enter(member)
        return member

    def let_go(self) -> None:
        """Forgets the fleets that the host has left."""
        for fleet, member in list(self._members.items()):
            if member.engine.left:
                del self._members[fleet]
                try:
                    member.store.remove()
                except OSError as error:
                    log(f"{member.store.folder} cannot be removed: {error.strerror}")
                log(f"left fleet {fleet}")

    def _enter(self, member: Member) -> None:
        """Takes in a member, in the folder of its name.

        One that took another's place, and was ended before it had moved, has its predecessor's folder still.
        """
        bundle = member.engine.bundle
        fleet = member.store.folder.name if bundle is None else bundle.fleet
        self._members[fleet] = member
        if member.store.folder.name != fleet:
            try:
                member.store.move(self._folder / fleet)
            except OSError as error:
                log(f"{member.store.folder} cannot be moved ({error.strerror}): it is at the next start")

    def _member(self, store: Store) -> Member:
        return Member(self._around, store, self._others)

    def _others(self, member: Member) -> Mapping[str, Contents]:
        return {fleet: held.engine.contents for fleet, held in self._members.items() if held is not member}

    def _name(self, fleet: str) -> str:
        bundle = self._members[fleet].engine.bundle
        return fleet if bundle is None else bundle.fleet_name

    def _namesake(self, wanted: Bundle) -> Optional[Member]:
        """The member of another fleet that has the name of this one."""
        for fleet, member in self._members.items():
            if fleet != wanted.fleet and self._name(fleet) == wanted.fleet_name:
                return member
        return None


def _is_fleet(name: str) -> bool:
    try:
        check_fleet(name)
    except ValueError:
        return False
    return True
