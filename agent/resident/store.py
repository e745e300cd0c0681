"""What a host should be for one fleet, kept over reboots: one file, always wholly old or wholly new.

Job: read and replace FOLDER/state.json. It holds the bundle with its secrets, the bundle that was last
carried out in full (an endpoint that the operator changed differs from it, one that roamed does not),
and the interfaces that were ever made and may still be there. Beside it, FOLDER/endpoints.json holds where
peers behind NAT were last. Refuses to decide which bundle is welcome. Called by engine and fleets.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from agent import bundle as bundles
from agent.bundle import Bundle
from agent.codec import loads
from agent.netns import Place
from agent.resident import learned
from agent.resident.files import private_folder, replace_file, sync_folder
from agent.resident.learned import Endpoints
from agent.secret import Secrets

VERSION = 1
_FIELDS = {"version", "bundle", "secrets", "finished", "previous", "interfaces"}


class StoreError(Exception):
    """A sentence for people: the file, what is wrong with it, what to do."""


@dataclass(frozen=True)
class Contents:
    """What is kept.

    `finished`: the host was brought to `bundle` in full. Until then `previous` is the bundle of which
    that was last true, None for none.
    """

    bundle: Optional[Bundle] = None
    secrets: Secrets = field(default_factory=Secrets)
    finished: bool = True
    previous: Optional[Bundle] = None
    interfaces: tuple[Place, ...] = ()

    @property
    def baseline(self) -> Optional[Bundle]:
        """The bundle that the host was last brought to in full."""
        return self.bundle if self.finished else self.previous


class Store:
    """The files in `folder`; one process at a time uses them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def _file(self) -> Path:
        return self._folder / "state.json"

    @property
    def _endpoints(self) -> Path:
        return self._folder / "endpoints.json"

    @property
    def folder(self) -> Path:
        return self._folder

    def exists(self) -> bool:
        """Whether anything is kept."""
        return self._file.exists()

    def move(self, folder: Path) -> None:
        """Keeps everything in `folder` from now on, which must be beside the one before. Raises OSError."""
        self._folder.rename(folder)
        sync_folder(folder.parent)
        self._folder = folder

    def remove(self) -> None:
        """Nothing is kept any more, the folder included. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._folder)
        sync_folder(self._folder.parent)

    def load(self) -> Contents:
        """Nothing kept: empty contents, and no file is made. Raises StoreError where it cannot be read."""
        try:
            data = self._file.read_bytes()
        except FileNotFoundError:
            return Contents()
        except OSError as error:
            raise StoreError(f"{self._file} cannot be read: {error.strerror}") from None
        try:
            return _from_json(loads(data))
        except ValueError as error:
            raise StoreError(
                f"{self._file} cannot be used ({error}): links stay as they are; apply the fleet again"
            ) from None

    def save(self, contents: Contents) -> None:
        """On disk when it returns. Raises StoreError, what was kept before being kept still."""
        data = json.dumps(_to_json(contents), separators=(",", ":")).encode()
        try:
            private_folder(self._folder)
            replace_file(self._file, data)
        except OSError as error:
            raise StoreError(self._complaint(error, len(data))) from None

    def load_endpoints(self) -> Endpoints:
        """What `save_endpoints` kept; nothing where that cannot be read: it will be learned anew."""
        try:
            return learned.from_json(loads(self._endpoints.read_bytes()))
        except (OSError, ValueError):
            return {}

    def save_endpoints(self, endpoints: Endpoints) -> None:
        """On disk when it returns. Raises StoreError."""
        data = json.dumps(learned.to_json(endpoints)).encode()
        try:
            private_folder(self._folder)
            replace_file(self._endpoints, data)
        except OSError as error:
            raise StoreError(f"{self._endpoints} cannot be written: {error.strerror}") from None

    def _complaint(self, error: OSError, size: int) -> str:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            need = f"free {size // 1024 + 1} KiB under {self._folder} and apply again"
            return f"no space left for {self._file}; what it held is kept: {need}"
        return f"{self._file} cannot be written ({error.strerror}); what it held is kept"


def next_contents(held: Contents, bundle: Bundle, secrets: Secrets) -> Contents:
    """What to keep when `bundle`, with just the secrets it needs, takes the place of what is held."""
    return Contents(
        bundle=bundle,
        secrets=secrets,
        finished=False,
        previous=held.baseline,
        interfaces=_places(held.interfaces, bundle),
    )


def finished_contents(held: Contents) -> Contents:
    """What to keep once the host is what its bundle says."""
    return Contents(held.bundle, held.secrets, interfaces=_places((), held.bundle))


def _places(before: Iterable[Place], bundle: Optional[Bundle]) -> tuple[Place, ...]:
    interfaces = () if bundle is None else bundle.interfaces
    found = {*before, *(Place(interface.name, interface.netns) for interface in interfaces)}
    return tuple(sorted(found, key=lambda place: (place.interface, place.netns or "")))


def _to_json(contents: Contents) -> dict[str, Any]:
    return {
        "version": VERSION,
        "bundle": None if contents.bundle is None else bundles.to_json(contents.bundle),
        "secrets": contents.secrets.to_json(),
        "finished": contents.finished,
        "previous": None if contents.previous is None else bundles.to_json(contents.previous),
        "interfaces": [list(place) for place in contents.interfaces],
    }


def _from_json(value: Any) -> Contents:
    if not isinstance(value, dict) or value.get("version") != VERSION or set(value) != _FIELDS:
        raise ValueError("it is not of this agent's version")
    if not isinstance(value["interfaces"], list):
        raise ValueError("interfaces are not a list")
    if type(value["finished"]) is not bool:
        raise ValueError("finished is not true or false")
    return Contents(
        bundle=None if value["bundle"] is None else bundles.from_json(value["bundle"]),
        secrets=Secrets.from_json(value["secrets"]),
        finished=value["finished"],
        previous=None if value["previous"] is None else bundles.from_json(value["previous"]),
        interfaces=tuple(map(_place, value["interfaces"])),
    )


def _place(value: Any) -> Place:
    """An interface's name, and the name of its namespace or null. Raises ValueError."""
    name, netns = value if isinstance(value, list) and len(value) == 2 else (None, None)
    if not isinstance(name, str) or not (netns is None or isinstance(netns, str)):
        raise ValueError("an interface is not a name and a namespace")
    bundles.check_interface_name(name)
    if netns is not None:
        bundles.check_netns(netns)
    return Place(name, netns)
