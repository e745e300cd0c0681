"""Which bundles are taken, and what is said of the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import bundle as bundles
from agent.resident.admission import RefusedError, admit, read
from agent.secret import SecretRef, Secrets
from tests.agent.samples import FLEET, OTHER_FLEET, bundle, interface, peer, secrets, secrets_of

HELD = bundle(5)
NONE = Secrets()


def test_the_first_bundle_is_taken() -> None:
    assert admit(HELD, secrets_of(HELD), None, NONE, False) == secrets_of(HELD)


def test_secrets_that_are_held_need_not_be_sent_again() -> None:
    assert admit(bundle(6), NONE, HELD, secrets_of(HELD), False) == secrets_of(HELD)


def test_only_what_the_bundle_names_is_kept() -> None:
    new = bundle(6, [interface(peers=(peer(3),))])
    kept = admit(
        new, secrets([SecretRef("psk/1~3", 1), SecretRef("key/9", 1)]), HELD, secrets_of(HELD), False
    )
    assert set(kept) == {SecretRef("key/1", 1), SecretRef("psk/1~3", 1)}


def test_the_same_bundle_again_is_taken() -> None:
    assert admit(HELD, NONE, HELD, secrets_of(HELD), False) == secrets_of(HELD)


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (
            bundle(9, fleet=OTHER_FLEET, fleet_name="other"),
            ["acme", FLEET, "other", OTHER_FLEET, "--replace-fleet"],
        ),
        (bundle(9, host="host9"), ["host1", "host9", "acme", "--replace-fleet"]),
        (bundle(4), ["revision 5", "revision 4", "newest state"]),
        (bundle(5, forwarding=True), ["another revision 5", "two states"]),
    ],
)
def test_refused_unless_replaced(new: bundles.Bundle, words: list[str]) -> None:
    with pytest.raises(RefusedError) as caught:
        admit(new, secrets_of(new), HELD, secrets_of(HELD), False)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert [word for word in words if word not in sentence] == []
    assert admit(new, secrets_of(new), HELD, secrets_of(HELD), True) == secrets_of(new)


def test_missing_secrets_are_named() -> None:
    new = bundle(6, [interface(peers=[peer(n) for n in range(2, 9)])])
    with pytest.raises(RefusedError, match=r"revision 6 .*psk/1~3 generation 1.* and 3 more"):
        admit(new, NONE, HELD, secrets_of(HELD), False)


def test_keys_of_one_fleet_never_serve_another() -> None:
    other = bundle(1, fleet=OTHER_FLEET)
    with pytest.raises(RefusedError, match="does not hold"):
        admit(other, NONE, HELD, secrets_of(HELD), True)


@pytest.mark.parametrize("new", [bundle(6, fleet=OTHER_FLEET), bundle(6, host="host9")])
def test_a_host_that_left_is_free(new: bundles.Bundle) -> None:
    left = bundle(5, [])
    assert admit(new, secrets_of(new), left, NONE, False) == secrets_of(new)


def test_a_host_that_left_remembers_its_revision() -> None:
    with pytest.raises(RefusedError, match="older"):
        admit(HELD, secrets_of(HELD), bundle(6, []), NONE, False)


def test_another_version_is_named() -> None:
    document = {**bundles.to_json(HELD), "version": 2, "news": []}
    with pytest.raises(RefusedError, match="version 2, this agent speaks version 1"):
        read(document, [])


@pytest.mark.parametrize("document", [None, [], {}, {"version": True}, {"version": 1}, "bundle", 7])
def test_nonsense_is_refused(document: object) -> None:
    with pytest.raises(RefusedError, match="the bundle makes no sense"):
        read(document, [])


@pytest.mark.parametrize("value", [None, {}, [1], [{"id": "key/1", "generation": 1, "value": "c2VjcmV0"}]])
def test_nonsense_for_secrets_is_refused_and_not_quoted(value: object) -> None:
    with pytest.raises(RefusedError, match="the secrets make no sense") as caught:
        read(bundles.to_json(HELD), value)
    assert "c2VjcmV0" not in str(caught.value)


@given(st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_a_revision_never_falls(held: int, new: int, same_content: bool) -> None:
    wanted = bundle(new, forwarding=not same_content)
    try:
        admit(wanted, NONE, bundle(held), secrets_of(HELD), False)
    except RefusedError:
        assert new < held or (new == held and not same_content)
    else:
        assert new > held or (new == held and same_content)
