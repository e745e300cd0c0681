"""Which agent stays on a host that is in several fleets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.bundle import Bundle
from agent.report import OtherFleet
from fleet.delivery.manifest import Manifest, from_text, own, to_text
from fleet.delivery.newest import others, stays
from tests.fleet.delivery.made import DIGEST, facts
from tests.fleet.delivery.test_facts import report

OURS = "ab" * 16
THEIRS = "cd" * 16
BUNDLE = Bundle(1, OURS, "acme", "fra1", 3, ())
MINE = Manifest("1.10.0", (1, 2), userspace=False)
ALONE = report()
SHARED = replace(report(), others=(OtherFleet("beta", 2),))


def decided(version: str | None, versions: tuple[int, ...] = (1, 2), **values: object) -> bool | str:
    """`version` is that of the installed agent, None for one that has no manifest."""
    installed = None if version is None else Manifest(version, versions, userspace=False)
    base: dict[str, object] = {"release": DIGEST, "report": SHARED, "manifest": installed}
    return stays(facts(**{**base, **values}), MINE, BUNDLE)


@pytest.mark.parametrize("version", ["1.9", "1.10.0", "1.10.0.dev3", None])
def test_this_release_goes_where_there_is_no_newer_one(version: str | None) -> None:
    assert decided(version) is False


@pytest.mark.parametrize("version", ["1.10.1", "2.0", "1.11.0a1"])
def test_a_newer_one_stays_where_another_fleet_has_it(version: str) -> None:
    assert decided(version) is True
    assert decided(version, report=ALONE) is False, "who is alone there has its own way"


def test_a_host_without_an_agent_gets_this_one() -> None:
    assert decided(None, release=None, report=None) is False


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (decided("2.0", (2,)), "does not speak bundles of version 1; apply with fleet 2.0 or newer"),
        (
            decided("2.0", report=None, fleets=(OURS, THEIRS), agent_error="the agent does not answer"),
            f"it is in {THEIRS} too and its agent is of fleet 2.0, newer than this one (1.10.0); "
            "the agent does not answer; apply with fleet 2.0 or newer",
        ),
        (
            decided("1.9", report=replace(report(), others=(OtherFleet("beta", 3),))),
            "it is in beta too, whose bundle is of version 3, which the agent of this fleet 1.10.0 does not",
        ),
    ],
)
def test_where_no_agent_serves_all_it_is_said(found: bool | str, words: str) -> None:
    assert isinstance(found, str)
    assert words in found
    assert "\n" not in found


def test_a_newer_one_without_the_userspace_tunnel() -> None:
    held = facts(release=DIGEST, report=SHARED, manifest=Manifest("2.0", (1,), userspace=False))
    found = stays(held, replace(MINE, userspace=True), BUNDLE)
    assert isinstance(found, str)
    assert "it has no userspace tunnel with it" in found


def test_an_agent_that_is_silent_and_serves_nobody_else_is_replaced() -> None:
    assert decided("2.0", report=None, fleets=(OURS,)) is False


def test_others_by_name_and_by_id() -> None:
    assert others(facts(report=SHARED, fleets=(OURS, THEIRS)), OURS) == ("beta",)
    assert others(facts(fleets=(OURS, THEIRS)), OURS) == (THEIRS,)


def test_a_fleet_whose_bundle_cannot_be_read_hinders_nobody() -> None:
    assert decided("1.9", report=replace(report(), others=(OtherFleet(THEIRS, None),))) is False


def test_a_manifest_is_read_back() -> None:
    assert from_text(to_text(own(userspace=True))) == own(userspace=True)
    assert own(userspace=True).bundle_versions == (1,)
