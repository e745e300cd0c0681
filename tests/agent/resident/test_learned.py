"""Endpoints that devices learned: which are followed, and how they are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.report import Observed, ObservedInterface, ObservedPeer
from agent.resident import learned
from tests.agent.samples import bundle, interface, key, peer

WANTED = bundle(1, [interface(peers=(peer(2, endpoint=None), peer(3)))])


def observed(*peers: ObservedPeer) -> Observed:
    return Observed((ObservedInterface("wg0", "userspace", True, 1420, peers=peers),))


def test_only_peers_that_the_bundle_does_not_place_are_followed() -> None:
    seen = observed(
        ObservedPeer(key(2), endpoint="198.51.100.7:4444"), ObservedPeer(key(3), endpoint="198.51.100.8:1")
    )
    assert learned.follow({}, WANTED, seen) == {("wg0", key(2)): "198.51.100.7:4444"}


def test_what_was_learned_outlives_the_device_and_not_the_peer() -> None:
    known = {("wg0", key(2)): "198.51.100.7:4444"}
    assert learned.follow(known, WANTED, Observed()) == known
    assert learned.follow(known, WANTED, observed(ObservedPeer(key(2)))) == known
    assert learned.follow(known, bundle(2, [interface(peers=(peer(3),))]), Observed()) == {}


def test_a_device_is_told_what_it_lacks_and_nothing_else() -> None:
    known = {("wg0", key(2)): "198.51.100.7:4444"}
    (step,) = learned.lacking(known, WANTED, observed(ObservedPeer(key(2)), ObservedPeer(key(3))))
    assert step.change.item == "wg0 peer host2 endpoint"
    assert learned.lacking(known, WANTED, observed(ObservedPeer(key(2), endpoint="192.0.2.1:1"))) == ()
    assert learned.lacking(known, WANTED, Observed()) == ()


@given(
    st.dictionaries(st.tuples(st.text(), st.text()), st.integers(1, 65535).map(lambda p: f"[fd00::1]:{p}"))
)
def test_there_and_back(endpoints: learned.Endpoints) -> None:
    assert learned.from_json(learned.to_json(endpoints)) == endpoints


@pytest.mark.parametrize("value", [None, {}, [1], [["a", "b"]], [["a", "b", 1]], [["a", "b", "nowhere"]]])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        learned.from_json(value)
