"""Findings about the graph: that they come, name both sides and the cure, and come only where due."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from fleet.inventory.model import HubRule, Inventory, LinkRule, Rule
from fleet.topology.check import check, notes
from tests.fleet import fleets
from tests.fleet.topology.topologies import distances, expected_links, inventories


def said(inventory: Inventory) -> str:
    (finding,) = check(inventory)
    return str(finding)


def test_the_example_has_none() -> None:
    assert check(fleets.example()) == []


def test_a_link_between_two_hosts_that_cannot_be_called() -> None:
    inventory = fleets.inventory(
        [fleets.host("hub", transit=True), fleets.host("oslo", nat=True), fleets.host("lima", nat=True)],
        [fleets.mesh("hub", "oslo", "lima"), fleets.link("oslo", "lima", line=7)],
    )
    text = said(inventory)
    assert text.startswith("/fleets/inventory.yml:7:1: link: neither of oslo and lima can be called")
    assert "fleet_endpoint" in text
    assert "fleet_transit" in text


def test_a_mesh_without_transit_for_those_behind_nat() -> None:
    hosts = [fleets.host("open"), fleets.host("oslo", nat=True), fleets.host("lima", nat=True)]
    text = said(fleets.inventory(hosts, [fleets.mesh("open", "oslo", "lima", line=4)]))
    assert text.startswith("/fleets/inventory.yml:4:1: oslo and lima cannot call each other")
    assert "fleet_transit: true" in text
    assert "fleet_endpoint" in text


def test_many_unreachable_hosts_are_one_finding_each() -> None:
    hosts = [fleets.host(f"h{n}", nat=True) for n in range(9)]
    findings = check(fleets.inventory(hosts, [fleets.mesh(*[host.name for host in hosts])]))
    assert len(findings) == 8
    assert "h0 and h1, h2, h3, h4, h5 or 3 others cannot" in str(findings[0])


def test_a_spoke_whose_hubs_cannot_be_called() -> None:
    hosts = [fleets.host("hub", nat=True), fleets.host("oslo", nat=True, line=9), fleets.host("open")]
    text = said(fleets.inventory(hosts, [fleets.hub(["hub"], ["oslo", "open"])]))
    assert text.startswith("/fleets/inventory.yml:1009:1: oslo is a spoke without a hub")
    assert "hub can be called" in text
    assert "fleet_endpoint" in text


def test_a_hub_rule_without_hubs() -> None:
    hosts = [fleets.host("a"), fleets.host("b")]
    text = said(fleets.inventory(hosts, [fleets.hub([], ["a"], line=3), fleets.link("a", "b")]))
    assert text.startswith("/fleets/inventory.yml:3:1: hub: a is a spoke without a hub")


def test_a_hub_among_its_own_spokes_is_fine() -> None:
    hosts = [fleets.host("hub"), fleets.host("oslo", nat=True)]
    assert check(fleets.inventory(hosts, [fleets.hub(["hub"], ["hub", "oslo"])])) == []


def test_a_second_hub_that_cannot_be_called_is_reached_by_the_first() -> None:
    hosts = [fleets.host("one"), fleets.host("two", nat=True), fleets.host("oslo", nat=True)]
    hubs = fleets.hub(["one", "two"], ["oslo"])
    assert check(fleets.inventory(hosts, [hubs, fleets.mesh("one", "two")])) == []
    text = said(fleets.inventory(hosts, [hubs]))
    assert "two and oslo cannot call each other" in text


def test_the_way_out_is_a_neighbour() -> None:
    hosts = [fleets.host("hub"), fleets.host("oslo", egress="lima", line=8), fleets.host("lima")]
    text = said(fleets.inventory(hosts, [fleets.hub(["hub"], ["oslo", "lima"])]))
    assert text.startswith("/fleets/inventory.yml:8:1: fleet_egress: oslo has no link to lima")
    assert "link: [oslo, lima]" in text


def test_what_is_missing_beyond_the_way_out_is_a_note() -> None:
    hosts = [fleets.host("hub"), fleets.host("oslo", egress="hub")]
    inventory = fleets.inventory(hosts, [fleets.mesh("hub", "oslo")])
    assert check(inventory) == []
    (note,) = notes(inventory)
    assert "set fleet_masquerade: [INTERFACE] on hub" in note
    masquerading = {**inventory.hosts, "hub": fleets.host("hub", masquerade=["eth0"])}
    assert list(notes(replace(inventory, hosts=masquerading))) == []
    (note,) = notes(replace(inventory, hosts=masquerading, pools=inventory.pools[:1]))
    assert "no IPv6 pool" in note


def test_a_host_that_no_rule_links() -> None:
    hosts = [fleets.host("a"), fleets.host("b"), fleets.host("lost", line=12)]
    text = said(fleets.inventory(hosts, [fleets.mesh("a", "b")]))
    assert text.startswith("/fleets/inventory.yml:12:1: lost is linked with nobody")


@pytest.mark.parametrize("rules", [[], [fleets.mesh("a")]])
def test_a_single_host_needs_no_link(rules: list[Rule]) -> None:
    assert check(fleets.inventory([fleets.host("a")], rules)) == []


@given(inventories())
@settings(max_examples=200, deadline=None)
def test_no_finding_means_that_every_pair_of_a_rule_reaches_each_other(inventory: Inventory) -> None:
    findings = check(inventory)
    asked = {
        frozenset(pair)
        for rule in inventory.rules
        for pair in (
            [(a, b) for a in rule.hosts for b in rule.hosts]
            if not isinstance(rule, HubRule)
            else [(a, b) for a in rule.hubs for b in rule.spokes]
        )
        if len(set(pair)) == 2
    }
    links = expected_links(inventory)
    unreached = [pair for pair in asked if max(pair) not in distances(inventory, min(pair))]
    refused = [
        rule for rule in inventory.rules if isinstance(rule, LinkRule) and frozenset(rule.hosts) not in links
    ]
    alone = set(inventory.hosts) - {name for pair in asked for name in pair}
    if unreached or refused or (alone and len(inventory.hosts) > 1):
        assert findings
    else:
        assert [f for f in findings if "without a hub" not in f.message] == []
