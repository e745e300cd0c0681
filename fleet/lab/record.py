"""Where a lab keeps its things, and the record of what it consists of.

Job: the folder `.fleet/lab/NAME` beside the inventory: layout (`lab.json`, written before anything is
made), keys, the hosts' persistent files; one command at a time. Refuses to know what is running. Called by
`lab`, `build` and `access`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.codec import CodecError, decode, encode
from fleet.errors import FleetError
from fleet.lab.layout import Layout


@dataclass(frozen=True)
class Record:
    """`inventory` is the file that the lab was made from, `layout` what was to be made of it."""

    version: int
    name: str
    inventory: str
    layout: Layout


@dataclass(frozen=True)
class Place:
    """A lab's folder, 0700."""

    folder: Path

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that follow from where the folder is."""
        return hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]

    @property
    def key_file(self) -> Path:
        """The private key that logs in to every host."""
        return self.folder / "key"

    @property
    def known_hosts(self) -> Path:
        """The hosts' own keys, as OpenSSH reads them."""
        return self.folder / "known_hosts"

    @property
    def stage(self) -> Path:
        """An empty folder: the mount point on which a node's root is put together, in its own namespace."""
        return self.folder / "stage"

    def host(self, name: str) -> Path:
        """What survives a reboot of a host."""
        return self.folder / "hosts" / name

    @property
    def hidden(self) -> Path:
        """The operator's folder with states and keys, which no host may see."""
        return self.folder.parent.parent

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Makes the folder and keeps other lab commands out. Raises FleetError where one is at work."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.chmod(0o700)
            descriptor = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FleetError(f"{self.folder}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FleetError(
                f"another command is at work on this lab ({self.folder}): try again when it is done"
            ) from None
        else:
            yield
        finally:
            os.close(descriptor)

    def load(self) -> Record | None:
        """The record, None where there is none. Raises FleetError where it cannot be read."""
        file = self.folder / "lab.json"
        try:
            return decode(Record, json.loads(file.read_text()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError:
            raise FleetError(f"{file}: this lab belongs to root: run the same with sudo") from None
        except (OSError, ValueError, CodecError) as error:
            raise FleetError(
                f"{file}: cannot be read ({error}): delete it, then run fleet lab down"
            ) from error

    def save(self, record: Record) -> None:
        """Writes the record at once or not at all."""
        new = self.folder / "lab.json.new"
        new.unlink(missing_ok=True)
        write_private(new, json.dumps(encode(record)))
        new.replace(self.folder / "lab.json")

    def remove(self) -> None:
        """Deletes the folder, and its parents where nothing else is in them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for parent in (self.folder.parent, self.folder.parent.parent):
            try:
                parent.rmdir()
            except OSError:
                return


def place_of(inventory: Path, name: str) -> Place:
    """The place of the lab of the fleet `name`, whose inventory is that file."""
    return Place(inventory.parent.resolve() / ".fleet" / "lab" / name)


def find(inventory: Path) -> tuple[Place, Record] | None:
    """The lab that was made from this file, by its record alone: it works for a broken inventory too.

    Raises FleetError where a record cannot be read, as by somebody who is not root.
    """
    file = inventory.resolve()
    labs = file.parent / ".fleet" / "lab"
    try:
        folders = sorted(labs.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise FleetError(f"{labs}: this lab belongs to root: run the same with sudo") from None
    for folder in folders:
        place = Place(folder)
        record = place.load()
        if record is not None and record.inventory == str(file):
            return place, record
    return None


def write_private(file: Path, text: str, mode: int = 0o600) -> None:
    """A new file that nobody else can read, not for a moment (where `mode` says so)."""
    descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
