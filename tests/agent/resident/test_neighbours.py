"""What fleets on one host see of each other, and where they collide."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent import egress
from agent.bundle import Bundle, Gateway, Route
from agent.egress import Rule
from agent.netns import Place
from agent.report import Observed, ObservedFirewall, OtherFleet
from agent.resident.admission import RefusedError
from agent.resident.neighbours import check_beside, own_part, told
from agent.resident.store import Contents
from tests.agent.samples import FLEET, OTHER_FLEET, bundle, interface, other, peer

HELD = Contents(bundle(3), interfaces=(Place("wg0"), Place("wg7")))


def check(wanted: Bundle, *others: Contents) -> None:
    """Whether a fleet that is new to the host may join these."""
    check_beside(wanted, Contents(), {str(number): held for number, held in enumerate(others)})


def test_what_collides_with_nothing_is_welcome() -> None:
    check(other(), HELD)
    check(other(listen_port=0), Contents(bundle(1, [interface(listen_port=0)])))
    check(other(addresses=("fe80::1/64",)), Contents(bundle(1, [interface(addresses=("fe80::1/64",))])))
    check(bundle(1, [], fleet=OTHER_FLEET, fleet_name="beta"), HELD)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (other("wg0"), "both have an interface wg0"),
        (other("wg7"), "both have an interface wg7"),
        (other(listen_port=51820), "both listen on UDP port 51820"),
        (other(addresses=("10.77.0.1/24",)), "both have the address 10.77.0.1"),
        (other(routes=(Route("10.77.0.0/16"),)), "both route 10.77.0.0/16"),
        (
            other(routes=(Route("10.77.0.2/31"),)),
            "the route to 10.77.0.2/31 of one takes what is for host2 (10.77.0.2) of the other",
        ),
        (
            other(peers=(peer(4, addresses=("10.77.9.9",)),), routes=(Route("10.0.0.0/8"),)),
            "the route to 10.77.0.0/16 of one takes what is for host4 (10.77.9.9) of the other",
        ),
    ],
)
def test_each_collision_is_one_sentence_that_names_the_other_fleet(wanted: Bundle, words: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check(wanted, HELD)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert 'fleet "beta" cannot be on this host beside fleet "acme"' in sentence
    assert FLEET in sentence
    assert words in sentence
    assert ";" not in sentence


def test_a_wider_route_that_takes_nothing_is_welcome() -> None:
    check(other(routes=(Route("10.0.0.0/8"),)), HELD)


def test_only_one_full_tunnel() -> None:
    full = Contents(bundle(1, [interface(fwmark=7, routes=(Route("0.0.0.0/0", table=7),))]))
    for destination in ("0.0.0.0/0", "::/0"):
        with pytest.raises(RefusedError, match="one way out"):
            check(other(fwmark=7, routes=(Route(destination, table=7),)), full)
    check(other(fwmark=7, routes=(Route("::/0", table=7),)), HELD)


def test_rules_of_others_are_not_seen() -> None:
    tunnel = interface(fwmark=7, routes=(Route("0.0.0.0/0", table=7),))
    theirs, stray = egress.rules(tunnel), Rule(6, 5, 9)
    seen = Observed(rules=(*theirs, stray))
    assert own_part(seen, Contents(), [Contents(bundle(1, [tunnel]))]).rules == (stray,)
    assert own_part(seen, Contents(), [HELD]).rules == (*theirs, stray)


def test_another_namespace_is_another_network_but_for_the_port() -> None:
    wanted = other(addresses=("10.77.0.1/32",), routes=(Route("10.77.0.0/16"),), netns="blue")
    check(wanted, HELD)
    same_port = replace(wanted, interfaces=(replace(wanted.interfaces[0], listen_port=51820),))
    with pytest.raises(RefusedError, match="UDP port"):
        check(same_port, HELD)


def test_several_collisions_are_told_together_and_counted() -> None:
    wanted = other("wg0", listen_port=51820, addresses=("10.77.0.1/32",), routes=(Route("10.77.0.0/16"),))
    with pytest.raises(RefusedError, match=r"interface wg0.*; .*51820.*; .*10.77.0.0/16; and 1 more"):
        check(wanted, HELD)


def test_beside_what_cannot_be_read_there_is_nothing_new() -> None:
    damaged = {FLEET: Contents()}
    with pytest.raises(RefusedError, match=f"fleet {FLEET} cannot be read, and wg1 might"):
        check_beside(other(), Contents(), damaged)
    check_beside(other(revision=2), Contents(other()), damaged)


def test_what_is_being_left_is_taken_until_it_is_left() -> None:
    changing = Contents(bundle(4, [interface("wg5", routes=())]), finished=False, previous=bundle(3))
    with pytest.raises(RefusedError, match=r"both route 10.77.0.0/16"):
        check(other(routes=(Route("10.77.0.0/16"),)), changing)


def test_tables_of_others_are_not_seen_and_their_forwarding_is() -> None:
    gateway = Gateway(clamp_mss=True)
    seen = Observed(firewalls=(ObservedFirewall("wg0", gateway), ObservedFirewall("wg1", gateway)))
    own = own_part(seen, Contents(), [HELD])
    assert (own.firewalls, own.shared) == ((ObservedFirewall("wg1", gateway),), ())
    assert own_part(seen, Contents(), [Contents(bundle(1, forwarding=True))]).shared == ("forwarding",)
    assert own_part(seen, Contents(), []) == seen


def test_beside_one_that_cannot_be_read_everything_may_be_its() -> None:
    tunnel = interface(fwmark=7, routes=(Route("0.0.0.0/0", table=7),))
    gateway = Gateway(clamp_mss=True)
    tables = (ObservedFirewall("wg0", gateway), ObservedFirewall("wg1", gateway))
    seen = Observed(rules=egress.rules(tunnel), firewalls=tables)
    own = own_part(seen, Contents(other()), [Contents()])
    assert (own.rules, own.firewalls, own.shared) == ((), tables[1:], ("forwarding",))
    mine = own_part(seen, Contents(bundle(1, [tunnel])), [Contents()])
    assert (mine.rules, mine.firewalls) == (seen.rules, tables[:1])


def test_what_others_are_told() -> None:
    assert told(FLEET, HELD) == OtherFleet("acme", 1)
    assert told(FLEET, Contents()) == OtherFleet(FLEET, None)
