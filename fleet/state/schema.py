"""The tables of a state, and how a Memory becomes rows and back.

A host's bundles stay for good, one row for each revision: what was meant is history, keys are not in
it. Refuses to know files and locks. Called by `fleet.state.store`.
"""

from __future__ import annotations

import json
import zlib
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    delete,
    insert,
    select,
)

from agent.bundle import Bundle, from_json, to_json
from fleet.state.memory import HostRecord, Memory

VERSION = 1

_metadata = MetaData()
_schema = Table("schema", _metadata, Column("version", Integer, nullable=False))
_fleet = Table(
    "fleet",
    _metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("psk_root", LargeBinary, nullable=False),
    Column("pair_generations", String, nullable=False),
)
_hosts = Table(
    "hosts",
    _metadata,
    Column("name", String, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("addresses", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("public_key", String, nullable=False),
    Column("private_key", LargeBinary, nullable=False),
    Column("retired", Boolean, nullable=False),
    Column("revision", Integer),
)
_bundles = Table(
    "bundles",
    _metadata,
    Column("host", String, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("saved_at", String, nullable=False),
    Column("bundle", LargeBinary, nullable=False),
)


def create(connection: Connection) -> None:
    """Makes the tables of an empty state."""
    _metadata.create_all(connection)
    connection.execute(insert(_schema).values(version=VERSION))


def version(connection: Connection) -> int | None:
    """Which version of these tables a state has."""
    return connection.scalar(select(_schema.c.version))


def read(connection: Connection) -> Memory | None:
    """What `write` wrote. Raises ValueError or TypeError for rows that no write leaves."""
    fleet = connection.execute(select(_fleet)).one_or_none()
    if fleet is None:
        return None
    current = _hosts.outerjoin(
        _bundles, (_bundles.c.host == _hosts.c.name) & (_bundles.c.revision == _hosts.c.revision)
    )
    rows = connection.execute(select(_hosts, _bundles.c.bundle).select_from(current).order_by(_hosts.c.name))
    return Memory(
        fleet_id=fleet.id,
        fleet_name=fleet.name,
        revision=fleet.revision,
        psk_root=fleet.psk_root,
        hosts={row.name: _record(row) for row in rows},
        pair_generations=json.loads(fleet.pair_generations),
    )


def write(connection: Connection, memory: Memory, now: datetime) -> None:
    """Replaces everything but history, which the bundles that it lacks join; another fleet's goes."""
    if connection.scalar(select(_fleet.c.id)) != memory.fleet_id:
        connection.execute(delete(_bundles))
    connection.execute(delete(_fleet))
    connection.execute(
        insert(_fleet).values(
            id=memory.fleet_id,
            name=memory.fleet_name,
            revision=memory.revision,
            psk_root=memory.psk_root,
            pair_generations=json.dumps(dict(memory.pair_generations), sort_keys=True),
        )
    )
    connection.execute(delete(_hosts))
    if memory.hosts:
        connection.execute(insert(_hosts), [_row(record) for record in memory.hosts.values()])
    kept = {
        (row.host, row.revision) for row in connection.execute(select(_bundles.c.host, _bundles.c.revision))
    }
    new = [
        {
            "host": name,
            "revision": record.bundle.revision,
            "saved_at": now.isoformat(timespec="seconds"),
            "bundle": _pack(record.bundle),
        }
        for name, record in memory.hosts.items()
        if record.bundle is not None and (name, record.bundle.revision) not in kept
    ]
    if new:
        connection.execute(insert(_bundles), new)


def read_history(connection: Connection, host: str) -> list[Bundle]:
    """Every bundle that was meant for a host, oldest first."""
    statement = select(_bundles.c.bundle).where(_bundles.c.host == host).order_by(_bundles.c.revision)
    return [_unpack(packed) for packed in connection.scalars(statement)]


def _row(record: HostRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "id": record.id,
        "addresses": json.dumps([str(address) for address in record.addresses]),
        "generation": record.generation,
        "public_key": record.public_key,
        "private_key": record.private_key,
        "retired": record.retired,
        "revision": record.bundle and record.bundle.revision,
    }


def _record(row: Row[Any]) -> HostRecord:
    if (row.bundle is None) != (row.revision is None):
        raise ValueError(f"the bundle of {row.name} is missing")
    return HostRecord(
        name=row.name,
        id=row.id,
        addresses=tuple(map(ip_address, json.loads(row.addresses))),
        generation=row.generation,
        public_key=row.public_key,
        private_key=row.private_key,
        bundle=None if row.bundle is None else _unpack(row.bundle),
        retired=row.retired,
    )


def _pack(bundle: Bundle) -> bytes:
    return zlib.compress(json.dumps(to_json(bundle), separators=(",", ":")).encode())


def _unpack(packed: bytes) -> Bundle:
    try:
        text = zlib.decompress(packed)
    except zlib.error as error:
        raise ValueError(f"a damaged bundle: {error}") from error
    return from_json(json.loads(text))
