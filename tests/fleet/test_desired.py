"""What is given once stays, what is secret stays sealed, and revisions rise exactly with changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.bundle import Bundle
from agent.report import FOREIGN, Observed, ObservedInterface, Report
from agent.secret import Secret, SecretRef, Secrets
from fleet.adoption import adopt
from fleet.desired import Desired, desire
from fleet.errors import FleetError
from fleet.inventory.model import Inventory
from fleet.keys.make import public_key
from fleet.keys.sealing import Sealer
from fleet.state.memory import Memory
from tests.fleet import fleets
from tests.fleet.fleets import Randomness

SEALER = Sealer(Secret(b"k" * 32))


def sealer_for(fleet: str) -> Sealer:
    assert len(fleet) == 32
    return SEALER


def no_sealer(fleet: str) -> Sealer:
    raise AssertionError("nothing has to be sealed or unsealed here")


def no_random(size: int) -> bytes:
    raise AssertionError("nothing new has to be made here")


def first(inventory: Inventory | None = None) -> Desired:
    return desire(inventory or fleets.example(), None, sealer_for, Randomness())


def meshed(*names: str) -> Inventory:
    return fleets.inventory([fleets.host(name) for name in names], [fleets.mesh(*names)])


def revisions(desired: Desired) -> dict[str, int]:
    return {name: bundle.revision for name, bundle in desired.bundles.items()}


def test_a_new_fleet_begins_with_revision_1() -> None:
    desired = first()
    assert desired.memory.revision == 1
    assert revisions(desired) == {"fra1": 1, "sgp1": 1, "oslo": 1, "lab7": 1}
    assert desired.previous == {}
    assert desired.left == ()
    assert {bundle.fleet for bundle in desired.bundles.values()} == {desired.memory.fleet_id}
    assert {name: record.bundle for name, record in desired.memory.hosts.items()} == desired.bundles


def test_the_same_inventory_again_changes_nothing_and_needs_no_key() -> None:
    before = first()
    again = desire(fleets.example(), before.memory, no_sealer, no_random)
    assert again.memory == before.memory
    assert again.bundles == before.bundles == again.previous
    assert again.left == ()


def test_fleets_and_hosts_share_no_ids_or_keys() -> None:
    one, other = first(), desire(fleets.example(), None, sealer_for, Randomness("other"))
    assert one.memory.fleet_id != other.memory.fleet_id
    records = [*one.memory.hosts.values(), *other.memory.hosts.values()]
    assert len({record.id for record in records}) == len({record.public_key for record in records}) == 8


def test_only_what_changed_gets_a_new_revision() -> None:
    before = first()
    inventory = fleets.example()
    hosts = {**inventory.hosts, "lab7": replace(inventory.hosts["lab7"], mtu=1300)}
    after = desire(replace(inventory, hosts=hosts), before.memory, no_sealer, no_random)
    assert after.memory.revision == 2
    assert revisions(after) == {"fra1": 1, "sgp1": 1, "oslo": 1, "lab7": 2}
    assert after.previous == before.bundles


def test_going_back_is_a_new_revision_with_the_old_intent() -> None:
    before = first()
    inventory = fleets.example()
    hosts = {**inventory.hosts, "lab7": replace(inventory.hosts["lab7"], mtu=1300)}
    after = desire(replace(inventory, hosts=hosts), before.memory, no_sealer, no_random)
    back = desire(inventory, after.memory, no_sealer, no_random)
    assert revisions(back)["lab7"] == 3
    assert back.bundles["lab7"].digest() == before.bundles["lab7"].digest()


def test_secrets_are_those_that_the_bundle_names_and_agree_on_both_ends() -> None:
    desired = first()
    held = {name: desired.secrets_for(name) for name in desired.bundles}
    for name, bundle in desired.bundles.items():
        (interface,) = bundle.interfaces
        assert set(held[name]) == bundle.secret_refs()
        assert public_key(held[name][interface.private_key]) == interface.public_key
        for peer in interface.peers:
            assert peer.preshared_key is not None
            assert held[name][peer.preshared_key] == held[peer.name][peer.preshared_key]
    keys = [secret.reveal() for secrets in held.values() for secret in secrets.values()]
    links = sum(len(bundle.interfaces[0].peers) for bundle in desired.bundles.values()) // 2
    assert len(set(keys)) == len(desired.bundles) + links


def test_secrets_outlive_the_run_that_made_them() -> None:
    before = first()
    again = desire(fleets.example(), before.memory, sealer_for, no_random)
    for name in before.bundles:
        assert dict(again.secrets_for(name)) == dict(before.secrets_for(name))


def test_secrets_cannot_be_had_with_another_sealing_key() -> None:
    again = desire(fleets.example(), first().memory, lambda fleet: Sealer(Secret(b"x" * 32)), no_random)
    with pytest.raises(FleetError, match="cannot be unsealed"):
        again.secrets_for("oslo")


def test_sealed_values_cannot_change_places() -> None:
    memory = first().memory
    oslo, lab7 = memory.hosts["oslo"], memory.hosts["lab7"]
    hosts = {**memory.hosts, "oslo": replace(oslo, private_key=lab7.private_key)}
    swapped = desire(fleets.example(), replace(memory, hosts=hosts), sealer_for, no_random)
    with pytest.raises(FleetError, match="cannot be unsealed"):
        swapped.secrets_for("oslo")


def test_nothing_that_is_printed_shows_a_key() -> None:
    desired = first()
    shown = repr(desired) + repr(desired.secrets_for("oslo"))
    for secret in desired.secrets_for("oslo").values():
        assert secret.reveal_base64() not in shown
        assert repr(secret.reveal())[2:-1] not in shown
    assert repr(desired.memory.psk_root) not in shown


def test_a_host_that_left_is_named_once_and_remembered() -> None:
    before = first(meshed("a", "b", "c"))
    after = desire(meshed("a", "b"), before.memory, no_sealer, no_random)
    assert after.left == ("c",)
    assert set(after.bundles) == {"a", "b"}
    assert [peer.name for peer in after.bundles["a"].interfaces[0].peers] == ["b"]
    gone = after.memory.hosts["c"]
    assert gone.retired
    assert gone.addresses == before.memory.hosts["c"].addresses
    assert gone.bundle == before.bundles["c"]
    assert desire(meshed("a", "b"), after.memory, no_sealer, no_random).left == ()


def test_a_host_that_comes_back_has_its_address_and_nothing_else_of_before() -> None:
    before = first(meshed("a", "b", "c"))
    away = desire(meshed("a", "b"), before.memory, no_sealer, no_random)
    back = desire(meshed("a", "b", "c"), away.memory, sealer_for, Randomness("back"))
    old, new = before.memory.hosts["c"], back.memory.hosts["c"]
    assert new.addresses == old.addresses
    assert not new.retired
    assert new.id != old.id
    assert new.public_key != old.public_key
    assert "c" not in back.previous
    assert not before.bundles["c"].secret_refs() & back.bundles["c"].secret_refs()


def test_a_pair_generation_that_rose_is_named_and_derived_anew() -> None:
    before = first(meshed("a", "b"))
    ref = before.bundles["a"].interfaces[0].peers[0].preshared_key
    assert ref is not None
    memory = replace(before.memory, pair_generations={ref.id.removeprefix("psk/"): 2})
    after = desire(meshed("a", "b"), memory, sealer_for, no_random)
    new = after.bundles["a"].interfaces[0].peers[0].preshared_key
    assert new == SecretRef(ref.id, 2)
    assert after.secrets_for("a")[new] == after.secrets_for("b")[new] != before.secrets_for("a")[ref]


# Sequences of edits


@st.composite
def edits(draw: st.DrawFn) -> list[Inventory]:
    """The states of an inventory that somebody works on."""
    pools = draw(st.sampled_from([("10.77.0.0/27",), ("fd77::/64",), ("10.77.0.0/27", "fd77::/64")]))
    found = []
    for _ in range(draw(st.integers(2, 6))):
        names = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True))
        by_hand = draw(st.sampled_from(["", *names]))
        hosts = [
            fleets.host(
                name,
                nat=draw(st.booleans()),
                addresses=["10.77.0.25"] if name == by_hand and pools[0].startswith("10.") else [],
            )
            for name in names
        ]
        found.append(
            fleets.inventory(hosts, [fleets.hub(names[:2], names[2:]), fleets.mesh(*names[:2])], pools)
        )
    return found


@given(edits())
@settings(deadline=None)
def test_whatever_is_edited_addresses_stay_and_revisions_only_rise(inventories: list[Inventory]) -> None:
    random = Randomness()
    memory: Memory | None = None
    for inventory in inventories:
        before = memory
        if conflict(inventory, memory):
            with pytest.raises(FleetError, match=r"10\.77\.0\.25 of . is the address that . has"):
                desire(inventory, memory, sealer_for, random)
            continue
        desired = desire(inventory, memory, sealer_for, random)
        memory = desired.memory
        check_addresses(inventory, before, memory)
        check_revisions(before, desired)
        assert desire(inventory, memory, no_sealer, no_random).memory == memory


def conflict(inventory: Inventory, memory: Memory | None) -> bool:
    """Whether an address is set by hand for one host while another goes on having it."""
    by_hand = {address for host in inventory.hosts.values() for address in host.addresses}
    known = memory.hosts if memory else {}
    return any(
        by_hand & set(known[name].addresses)
        for name, host in inventory.hosts.items()
        if name in known and not host.addresses
    )


def check_addresses(inventory: Inventory, before: Memory | None, after: Memory) -> None:
    every = [address for record in after.hosts.values() for address in record.addresses]
    assert len(every) == len(set(every))
    for name, host in inventory.hosts.items():
        addresses = after.hosts[name].addresses
        assert [address.version for address in addresses] == [pool.version for pool in inventory.pools]
        assert all(any(address in pool for pool in inventory.pools) for address in addresses)
        assert set(host.addresses) <= set(addresses)
    taken_by_hand = {address for host in inventory.hosts.values() for address in host.addresses}
    for name, record in (before.hosts if before else {}).items():
        if name not in inventory.hosts:
            assert set(record.addresses) - taken_by_hand <= set(after.hosts[name].addresses)
        elif not inventory.hosts[name].addresses and not set(record.addresses) & taken_by_hand:
            assert set(record.addresses) <= set(after.hosts[name].addresses)


def check_revisions(before: Memory | None, desired: Desired) -> None:
    last = before.revision if before else 0
    changed = {
        name
        for name, bundle in desired.bundles.items()
        if name not in desired.previous or desired.previous[name].digest() != bundle.digest()
    }
    assert desired.memory.revision == last + bool(changed)
    for name, bundle in desired.bundles.items():
        assert bundle.revision == (last + 1 if name in changed else desired.previous[name].revision)


# Taking a fleet over


def report(bundle: Bundle, **changes: object) -> Report:
    """What a host with this bundle says of itself."""
    (interface,) = bundle.interfaces
    observed = ObservedInterface(
        name=interface.name,
        backend="kernel",
        up=True,
        mtu=interface.mtu or 1420,
        private_key=interface.private_key,
        public_key=interface.public_key,
        addresses=(*interface.addresses, "fe80::1/64"),
    )
    values = {
        "version": 1,
        "release": "0" * 64,
        "host": bundle.host,
        "fleet": bundle.fleet,
        "fleet_name": bundle.fleet_name,
        "revision": bundle.revision,
        "digest": bundle.digest(),
        "secrets": tuple(sorted(bundle.secret_refs())),
        "observed": Observed((observed,)),
        "pending": (),
        "links": (),
        "problems": (),
        "restarts": {},
        "time": 0.0,
    }
    return Report(**(values | changes))  # type: ignore[arg-type]


def reports(desired: Desired) -> dict[str, Report]:
    return {name: report(bundle) for name, bundle in desired.bundles.items()}


def held(desired: Desired) -> dict[str, Secrets]:
    return {name: desired.secrets_for(name) for name in desired.bundles}


def test_a_fleet_that_was_adopted_keeps_ids_keys_and_addresses() -> None:
    before = first()
    memory = adopt(fleets.example(), reports(before), held(before), SEALER, Randomness("adopt"))
    assert (memory.fleet_id, memory.revision) == (before.memory.fleet_id, 1)
    after = desire(fleets.example(), memory, sealer_for, no_random)
    for name, record in before.memory.hosts.items():
        new = after.memory.hosts[name]
        assert (new.id, new.addresses, new.public_key, new.generation) == (
            record.id,
            record.addresses,
            record.public_key,
            record.generation,
        )
        ref = after.bundles[name].interfaces[0].private_key
        assert after.secrets_for(name)[ref] == before.secrets_for(name)[ref]
    assert set(revisions(after).values()) == {2}


def test_preshared_keys_of_an_adopted_fleet_are_new_under_new_names() -> None:
    before = first()
    memory = adopt(fleets.example(), reports(before), held(before), SEALER, Randomness("adopt"))
    after = desire(fleets.example(), memory, sealer_for, no_random)
    old = {secret.reveal() for secret in before.secrets_for("oslo").values()}
    for peer in after.bundles["oslo"].interfaces[0].peers:
        assert peer.preshared_key is not None
        assert peer.preshared_key.generation == 2
        assert after.secrets_for("oslo")[peer.preshared_key].reveal() not in old


def test_the_highest_revision_counts() -> None:
    before = first()
    said = reports(before)
    said["oslo"] = replace(said["oslo"], revision=41)
    assert adopt(fleets.example(), said, held(before), SEALER, Randomness()).revision == 41


def test_a_host_that_says_nothing_is_left_to_get_a_new_key() -> None:
    before = first()
    said, secrets = reports(before), held(before)
    del said["oslo"], secrets["lab7"]
    memory = adopt(fleets.example(), said, secrets, SEALER, Randomness())
    assert set(memory.hosts) == {"fra1", "sgp1"}


def test_a_copy_of_another_host_does_not_get_its_identity() -> None:
    before = first()
    said, secrets = reports(before), held(before)
    said["fra1"], secrets["fra1"] = said["oslo"], secrets["oslo"]
    memory = adopt(fleets.example(), said, secrets, SEALER, Randomness())
    assert set(memory.hosts) == {"sgp1", "oslo", "lab7"}


@pytest.mark.parametrize(
    "ref", [None, FOREIGN, SecretRef("key/../../etc", 1), SecretRef("psk/a~b", 1), SecretRef("key/00", 1)]
)
def test_what_a_host_says_of_its_key_is_checked(ref: SecretRef | None) -> None:
    before = first()
    said, secrets = reports(before), held(before)
    (interface,) = said["oslo"].observed.interfaces
    said["oslo"] = replace(said["oslo"], observed=Observed((replace(interface, private_key=ref),)))
    if ref is not None:
        secrets["oslo"] = Secrets([(ref, Secret(b"s" * 32))])
    assert "oslo" not in adopt(fleets.example(), said, secrets, SEALER, Randomness()).hosts


def test_one_address_on_two_hosts_is_adopted_for_one() -> None:
    before = first()
    said = reports(before)
    (interface,) = said["lab7"].observed.interfaces
    addresses = said["fra1"].observed.interfaces[0].addresses
    said["lab7"] = replace(said["lab7"], observed=Observed((replace(interface, addresses=addresses),)))
    memory = adopt(fleets.example(), said, held(before), SEALER, Randomness())
    every = [address for record in memory.hosts.values() for address in record.addresses]
    assert len(every) == len(set(every))
    desire(fleets.example(), memory, sealer_for, no_random)


def test_several_fleets_or_none_cannot_be_adopted() -> None:
    before = first()
    said = reports(before)
    said["oslo"] = replace(said["oslo"], fleet="e" * 32)
    with pytest.raises(FleetError, match="2 fleets"):
        adopt(fleets.example(), said, held(before), SEALER, Randomness())
    with pytest.raises(FleetError, match="0 fleets"):
        adopt(fleets.example(), {}, {}, SEALER, Randomness())
