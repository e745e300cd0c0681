"""What is saved comes back; what is no state is refused in a sentence."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.secret import Secret
from fleet.desired import desire
from fleet.errors import FleetError
from fleet.keys.sealing import Sealer
from fleet.state.lock import StateLockedError
from fleet.state.memory import Memory
from fleet.state.store import Store, state_place
from tests.fleet import fleets

SEALER = Sealer(Secret(b"k" * 32))


def memory() -> Memory:
    desired = desire(fleets.example(), None, lambda fleet: SEALER, fleets.Randomness())
    return replace(desired.memory, pair_generations={"a~b": 3})


def store(folder: Path) -> Store:
    return Store(folder / ".fleet" / "state" / "acme.db", lambda: datetime(2025, 1, 2, tzinfo=UTC))


def saved(folder: Path) -> Store:
    one = store(folder)
    one.save(memory())
    return one


def test_the_state_is_beside_the_inventory() -> None:
    assert state_place(fleets.example()) == Path("/fleets/.fleet/state/acme.db")


def test_loading_where_nothing_is_makes_nothing(tmp_path: Path) -> None:
    assert store(tmp_path).load() is None
    assert store(tmp_path).history("oslo") == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    assert saved(tmp_path).load() == memory()


def test_saving_again_replaces(tmp_path: Path) -> None:
    one = saved(tmp_path)
    less = replace(memory(), revision=7, hosts={}, pair_generations={})
    one.save(less)
    assert one.load() == less


def test_every_bundle_that_was_meant_stays_in_the_history(tmp_path: Path) -> None:
    one = saved(tmp_path)
    before = memory()
    inventory = fleets.example()
    changed = replace(inventory, hosts={**inventory.hosts, "new": fleets.host("new")})
    desired = desire(changed, before, lambda fleet: SEALER, fleets.Randomness("more"))
    one.save(desired.memory)
    again = desire(inventory, desired.memory, lambda fleet: SEALER, fleets.Randomness("less"))
    one.save(again.memory)
    first, last = before.hosts["oslo"].bundle, again.memory.hosts["oslo"].bundle
    assert [first] == one.history("oslo") == [last]
    assert [bundle.revision for bundle in one.history("new")] == [2]
    assert one.history("nobody") == []


def test_another_fleet_starts_a_history_of_its_own(tmp_path: Path) -> None:
    one = saved(tmp_path)
    other = desire(fleets.example(), None, lambda fleet: SEALER, fleets.Randomness("other")).memory
    one.save(other)
    assert one.load() == other
    assert one.history("oslo") == [other.hosts["oslo"].bundle]


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        one = saved(tmp_path)
        with one.lock("fleet apply"):
            pass
    finally:
        os.umask(umask)
    assert one.place.parent.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in one.place.parent.iterdir()} == {0o600}


def test_no_key_is_in_the_file_in_the_clear(tmp_path: Path) -> None:
    desired = desire(fleets.example(), None, lambda fleet: SEALER, fleets.Randomness())
    one = store(tmp_path)
    one.save(desired.memory)
    content = one.place.read_bytes()
    for host in desired.bundles:
        for secret in desired.secrets_for(host).values():
            assert secret.reveal() not in content
            assert secret.reveal_base64().encode() not in content
            assert secret.reveal().hex().encode() not in content


def test_a_save_that_fails_changes_nothing(tmp_path: Path) -> None:
    one = saved(tmp_path)
    oslo, fra1 = memory().hosts["oslo"], memory().hosts["fra1"]
    broken = replace(memory(), revision=9, hosts={"oslo": oslo, "fra1": replace(fra1, id=oslo.id)})
    with pytest.raises(FleetError):
        one.save(broken)
    assert one.load() == memory()


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    one = store(tmp_path)
    with one.lock("fleet apply"), pytest.raises(StateLockedError, match="fleet apply"), one.lock("fleet lab"):
        pass


def test_an_empty_file_is_no_state_yet(tmp_path: Path) -> None:
    one = store(tmp_path)
    one.place.parent.mkdir(parents=True)
    one.place.touch()
    assert one.load() is None
    one.save(memory())
    assert one.load() == memory()


@pytest.mark.parametrize("content", [b"nonsense" * 100, b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    one = store(tmp_path)
    one.place.parent.mkdir(parents=True)
    one.place.write_bytes(content)
    for use in (one.load, lambda: one.save(memory()), lambda: one.history("oslo")):
        with pytest.raises(FleetError, match=r"is not a state that fleet can use .*backup"):
            use()
    assert one.place.read_bytes() == content


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    one = store(tmp_path)
    one.place.parent.mkdir(parents=True)
    with sqlite3.connect(one.place) as connection:
        connection.execute("create table songs (title text)")
    connection.close()
    for use in (one.load, lambda: one.save(memory())):
        with pytest.raises(FleetError, match="is not a state that fleet can use"):
            use()


def test_a_state_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    one = saved(tmp_path)
    sql(one, "update schema set version = 99")
    for use in (one.load, lambda: one.save(memory()), lambda: one.history("oslo")):
        with pytest.raises(FleetError, match=r"another version of fleet \(schema 99"):
            use()


@pytest.mark.parametrize(
    "damage",
    [
        "update bundles set bundle = x'00'",
        "delete from bundles",
        "update hosts set addresses = '[\"10.77.0.999\"]'",
        "update hosts set addresses = '5'",
        "update fleet set pair_generations = '{'",
        "delete from schema",
        "drop table hosts",
    ],
)
def test_rows_that_no_save_leaves_are_refused(tmp_path: Path, damage: str) -> None:
    one = saved(tmp_path)
    sql(one, damage)
    with pytest.raises(FleetError, match="backup"):
        one.load()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / ".fleet").write_text("a file where a folder has to be")
    with pytest.raises(FleetError, match=r"\.fleet"):
        store(tmp_path).save(memory())
    with pytest.raises(FleetError, match=r"\.fleet"), store(tmp_path).lock("fleet apply"):
        pass


def test_names_that_mean_something_in_a_uri(tmp_path: Path) -> None:
    one = Store(tmp_path / "a ?#%20b" / "state" / "acme.db")
    one.save(memory())
    assert one.load() == memory()
    assert one.place.exists()


def sql(one: Store, statement: str) -> None:
    with sqlite3.connect(one.place) as connection:
        connection.execute(statement)
    connection.close()
