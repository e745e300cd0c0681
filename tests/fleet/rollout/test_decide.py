"""What a host needs, from what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.report import Report
from fleet.rollout.decide import decide
from tests.fleet.rollout.made import RELEASE, bundle, report

OTHER = "cd" * 32


def test_a_host_that_is_as_it_should_be_needs_nothing() -> None:
    work = decide(bundle(), None, report(bundle()), RELEASE, RELEASE)
    assert work.nothing
    assert work.changes == ()


def test_a_new_host_needs_everything() -> None:
    work = decide(bundle(), None, None, RELEASE, None)
    assert (work.install, work.deliver) == (True, True)
    assert work.changes[0].layer == "runtime"
    assert {"interface", "peer", "address", "route"} <= {change.layer for change in work.changes}


@pytest.mark.parametrize(
    ("installed", "said"), [(OTHER, OTHER), (RELEASE, replace(report(bundle()), release=OTHER))]
)
def test_another_release_is_installed(installed: str, said: Report | str) -> None:
    told = report(bundle(), release=said) if isinstance(said, str) else said
    work = decide(bundle(), None, told, RELEASE, installed)
    assert (work.install, work.deliver) == (True, False)
    assert [(change.layer, change.action) for change in work.changes] == [("runtime", "change")]


def test_an_agent_that_is_silent_is_installed_again() -> None:
    work = decide(bundle(), None, None, RELEASE, RELEASE)
    assert work.install
    assert work.deliver


def test_another_intent_is_delivered_and_shown() -> None:
    before, after = bundle(), bundle(revision=4, listen_port=51999)
    work = decide(after, before, report(before), RELEASE, RELEASE)
    assert (work.install, work.deliver) == (False, True)
    shown = {(change.layer, change.expected, change.actual) for change in work.changes}
    assert ("bundle", 4, 3) in shown
    assert any((expected, actual) == (51999, 51820) for _, expected, actual in shown)


def test_a_change_by_hand_is_mended() -> None:
    held = bundle()
    interface = report(held).observed.interfaces[0]
    told = report(held, observed=replace(report(held).observed, interfaces=(replace(interface, peers=()),)))
    work = decide(held, held, told, RELEASE, RELEASE)
    assert work.deliver
    assert [(change.layer, change.action) for change in work.changes] == [("peer", "add")]


def test_an_endpoint_that_roamed_is_no_difference() -> None:
    held = bundle()
    interface = report(held).observed.interfaces[0]
    peers = tuple(replace(peer, endpoint="198.51.100.7:4242", rx_bytes=9) for peer in interface.peers)
    told = report(
        held, observed=replace(report(held).observed, interfaces=(replace(interface, peers=peers),))
    )
    assert decide(held, held, told, RELEASE, RELEASE).nothing


def test_a_secret_that_lacks_is_delivered() -> None:
    assert decide(bundle(), None, report(bundle(), secrets=()), RELEASE, RELEASE).deliver


def test_another_fleet_is_shown() -> None:
    stranger = report(bundle(), fleet="e" * 32, digest="0" * 64)
    work = decide(bundle(), None, stranger, RELEASE, RELEASE)
    assert ("fleet", "e" * 32) in {(change.item, change.actual) for change in work.changes}
