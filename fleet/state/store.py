"""Where a fleet's memory is kept: a SQLite file beside the inventory, through SQLAlchemy Core.

Job: files, transactions, errors, and one writer at a time. Private keys are in the file only sealed,
bundles name keys and hold none; it is 0600 in a 0700 folder all the same. SQLite's rollback journal is
used, not WAL, so that between commands the state is one file to back up. Refuses to know what the
values mean; their form is `fleet.state.schema`'s. Called by commands.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, NullPool, create_engine, inspect
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from agent.bundle import Bundle
from fleet.errors import FleetError
from fleet.inventory.model import Inventory
from fleet.state import lock, schema
from fleet.state.memory import Memory

_UNUSABLE = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")
"""What SQLite calls a file that is no database of ours; everything else is the file system's trouble."""


def state_place(inventory: Inventory) -> Path:
    """The state file of an inventory's fleet."""
    return inventory.file.parent / ".fleet" / "state" / f"{inventory.name}.db"


class Store:
    """The state in one file; `clock` gives the time that history is stamped with."""

    def __init__(self, place: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.place = place
        self._clock = clock

    @contextmanager
    def lock(self, command: str) -> Iterator[None]:
        """Keeps other writers out, for a whole command. Raises StateLockedError, which names the holder."""
        self._make_folder()
        with lock.hold(self.place.with_name(self.place.name + ".lock"), command):
            yield

    def load(self) -> Memory | None:
        """What was saved last; None where nothing was. Creates no file.

        Raises FleetError for a state that is damaged, unreadable or of another version of fleet.
        """
        if not self._exists():
            return None
        with self._transaction() as connection:
            self._check_schema(connection)
            return schema.read(connection)

    def save(self, memory: Memory) -> None:
        """Replaces what is remembered, in one transaction; bundles that are new join the history."""
        self._make_folder()
        self._create_file()
        with self._transaction() as connection:
            if inspect(connection).get_table_names():
                self._check_schema(connection)
            else:
                schema.create(connection)
            schema.write(connection, memory, self._clock())

    def history(self, host: str) -> list[Bundle]:
        """What was ever meant for a host, oldest first."""
        if not self._exists():
            return []
        with self._transaction() as connection:
            self._check_schema(connection)
            return schema.read_history(connection, host)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """mode=rw: SQLite may need to finish a journal even for reading, but must create nothing."""
        database = f"file:{quote(str(self.place.absolute()))}"
        url = URL.create("sqlite", database=database, query={"mode": "rw", "uri": "true"})
        try:
            with create_engine(url, poolclass=NullPool).begin() as connection:
                yield connection
        except DBAPIError as error:
            raise self._explain(error.orig) from error
        except (SQLAlchemyError, ValueError, TypeError) as error:
            raise self._explain(error) from error

    def _explain(self, error: BaseException | None) -> FleetError:
        name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
        if isinstance(error, sqlite3.Error) and not name.startswith(_UNUSABLE):
            return FleetError(f"{self.place}: {error}: the state can be neither read nor written")
        return FleetError(
            f"{self.place} is not a state that fleet can use ({error}): restore it from a backup, or move it "
            "away and take the fleet over with `fleet apply --adopt`"
        )

    def _check_schema(self, connection: Connection) -> None:
        version = schema.version(connection)
        if version != schema.VERSION:
            raise FleetError(
                f"{self.place} was written by another version of fleet (schema {version}, this one has "
                f"schema {schema.VERSION}): use that version, or restore a backup that this one made"
            )

    def _exists(self) -> bool:
        """A file of no bytes is what a command leaves that was ended before its first save."""
        try:
            return self.place.stat().st_size > 0
        except FileNotFoundError:
            return False
        except OSError as error:
            raise FleetError(f"{self.place}: {error.strerror}: the state has to be readable") from error

    def _make_folder(self) -> None:
        try:
            self.place.parent.parent.mkdir(parents=True, exist_ok=True)
            self.place.parent.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise FleetError(f"{self.place.parent}: {error.strerror}: the state is kept there") from error

    def _create_file(self) -> None:
        """With its mode from the start; SQLite gives a journal the mode of its database."""
        try:
            os.close(os.open(self.place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise FleetError(f"{self.place}: {error.strerror}: the state is kept there") from error
