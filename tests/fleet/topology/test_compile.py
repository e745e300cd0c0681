"""What is in a bundle besides its tables, and whom a change of the fleet concerns."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.bundle import EVERYTHING, Bundle, Gateway, Peer, Route
from agent.secret import SecretRef
from fleet.inventory.model import Host, Inventory, Rule
from fleet.topology.compile import EGRESS_MARK
from tests.fleet import fleets
from tests.fleet.topology.topologies import FLEET_ID, compiled, identities


def peers(bundle: Bundle) -> dict[str, Peer]:
    return {peer.name: peer for peer in bundle.interfaces[0].peers}


def allowed(bundle: Bundle) -> dict[str, tuple[str, ...]]:
    return {peer.name: peer.allowed_ips for peer in bundle.interfaces[0].peers}


def test_a_bundle_says_what_the_inventory_says() -> None:
    inventory = fleets.inventory(
        [fleets.host("a", mtu=1280, backend="userspace"), fleets.host("b", nat=True)], [fleets.mesh("a", "b")]
    )
    bundle = compiled(inventory)["a"]
    (interface,) = bundle.interfaces
    own, other = identities(inventory)["a"], identities(inventory)["b"]
    assert (bundle.fleet, bundle.fleet_name, bundle.host, bundle.revision) == (FLEET_ID, "acme", "a", 1)
    assert (interface.name, interface.mtu, interface.backend, interface.listen_port) == (
        "wg0",
        1280,
        "userspace",
        51820,
    )
    assert interface.addresses == ("10.77.0.1/32", "fd77:ac3e::1/128")
    assert interface.private_key == SecretRef(f"key/{own.id}", 1)
    assert interface.public_key == own.public_key
    assert interface.routes == (
        Route("10.77.0.2/32", "10.77.0.1"),
        Route("fd77:ac3e::2/128", "fd77:ac3e::1"),
    )
    assert interface.peers == (
        Peer(
            "b",
            other.public_key,
            SecretRef(f"psk/{own.id}~{other.id}", 1),
            None,
            ("10.77.0.2/32", "fd77:ac3e::2/128"),
            addresses=("10.77.0.2", "fd77:ac3e::2"),
        ),
    )


def test_only_who_cannot_be_called_keeps_the_link_alive() -> None:
    inventory = fleets.inventory(
        [
            fleets.host("open"),
            fleets.host("closed", nat=True),
            fleets.host("forwarded", nat=True, endpoint="192.0.2.1:4000"),
        ],
        [fleets.mesh("open", "closed", "forwarded")],
    )
    bundles = compiled(inventory)
    keepalives = {(n, p.name): p.persistent_keepalive for n, b in bundles.items() for p in peers(b).values()}
    assert keepalives == {
        ("open", "closed"): 0,
        ("open", "forwarded"): 0,
        ("closed", "open"): 25,
        ("closed", "forwarded"): 25,
        ("forwarded", "open"): 0,
        ("forwarded", "closed"): 0,
    }
    assert peers(bundles["closed"])["forwarded"].endpoint == "192.0.2.1:4000"
    assert peers(bundles["open"])["closed"].endpoint is None


def test_hubs_transit_hosts_and_hosts_with_subnets_forward() -> None:
    inventory = fleets.inventory(
        [
            fleets.host("hub"),
            fleets.host("spoke", nat=True),
            fleets.host("site", nat=True, subnets=["192.168.1.0/24"]),
            fleets.host("transit", transit=True),
            fleets.host("plain"),
        ],
        [fleets.hub(["hub"], ["spoke", "site"]), fleets.mesh("hub", "transit", "plain")],
    )
    forwarding = {name for name, bundle in compiled(inventory).items() if bundle.forwarding}
    assert forwarding == {"hub", "site", "transit"}


def test_an_interface_may_be_in_a_network_namespace() -> None:
    inventory = fleets.inventory(
        [fleets.host("one", netns="web"), fleets.host("two")], [fleets.mesh("one", "two")]
    )
    found = {name: bundle.interfaces[0].netns for name, bundle in compiled(inventory).items()}
    assert found == {"one": "web", "two": None}


def test_a_full_tunnel_in_a_namespace_needs_neither_mark_nor_table() -> None:
    inventory = fleets.inventory(
        [fleets.host("one", netns="web", egress="two"), fleets.host("two")], [fleets.mesh("one", "two")]
    )
    (interface,) = compiled(inventory)["one"].interfaces
    assert interface.fwmark == 0
    everything = [route for route in interface.routes if route.is_everything]
    assert everything
    assert all(route.table is None for route in interface.routes)


def test_who_masquerades_clamps_the_mss_unless_told_otherwise() -> None:
    inventory = fleets.inventory(
        [
            fleets.host("hub", masquerade=["eth0"]),
            fleets.host("spoke", nat=True),
            fleets.host("site", nat=True, subnets=["192.168.1.0/24"]),
            fleets.host("quiet", nat=True, masquerade=["eth0"], clamp_mss=False),
            fleets.host("asked", nat=True, clamp_mss=True),
        ],
        [fleets.hub(["hub"], ["spoke", "site", "quiet", "asked"])],
    )
    gateways = {name: bundle.interfaces[0].gateway for name, bundle in compiled(inventory).items()}
    clamps = {name: gateway.clamp_mss for name, gateway in gateways.items() if gateway}
    assert clamps == {"hub": True, "quiet": False, "asked": True}


def test_everything_goes_to_the_way_out() -> None:
    inventory = fleets.inventory(
        [fleets.host("hub"), fleets.host("oslo", nat=True, egress="hub"), fleets.host("lima")],
        [fleets.mesh("hub", "oslo", "lima")],
    )
    bundles = compiled(inventory)
    (oslo,) = bundles["oslo"].interfaces
    allowed = {name: peer.allowed_ips[-2:] for name, peer in peers(bundles["oslo"]).items()}
    assert allowed["hub"] == EVERYTHING
    assert not set(allowed["lima"]) & set(EVERYTHING)
    assert oslo.fwmark == EGRESS_MARK
    own = [address.split("/")[0] for address in oslo.addresses]
    assert oslo.routes[-2:] == tuple(Route(to, source, EGRESS_MARK) for to, source in zip(EVERYTHING, own))
    assert bundles["hub"].forwarding
    for other in ("hub", "lima"):
        assert not bundles[other].interfaces[0].fwmark
        assert all(route.table is None for route in bundles[other].interfaces[0].routes)


def test_only_what_the_fleet_has_addresses_for_goes_out_through_it() -> None:
    hosts = [fleets.host("hub"), fleets.host("oslo", egress="hub")]
    inventory = replace(
        fleets.inventory(hosts, [fleets.mesh("hub", "oslo")]), pools=(ip_network("fd77::/64"),)
    )
    (oslo,) = compiled(inventory)["oslo"].interfaces
    assert [route.destination for route in oslo.routes if route.table] == ["::/0"]


def test_masquerade_is_for_the_pools_and_what_lies_behind_others() -> None:
    inventory = fleets.inventory(
        [
            fleets.host("one", subnets=["10.1.0.0/16"], masquerade=["eth1"]),
            fleets.host("two", subnets=["192.168.0.0/24", "fd01::/64"]),
            fleets.host("three", masquerade=["eth0", "eth1"], clamp_mss=False),
        ],
        [fleets.mesh("one", "two", "three")],
    )
    bundles = compiled(inventory)
    behind = ("192.168.0.0/24", "fd01::/64", "fd77:ac3e::/48")
    assert bundles["one"].interfaces[0].gateway == Gateway(True, ("eth1",), ("10.77.0.0/16", *behind))
    sources = ("10.1.0.0/16", "10.77.0.0/16", *behind)
    assert bundles["three"].interfaces[0].gateway == Gateway(False, ("eth0", "eth1"), sources)
    assert bundles["three"].forwarding


def test_a_spoke_sends_the_pools_to_the_first_hub_and_exceptions_elsewhere() -> None:
    inventory = fleets.inventory(
        [fleets.host("one"), fleets.host("two"), fleets.host("s1", nat=True), fleets.host("s2", nat=True)],
        [fleets.hub(["one", "two"], ["s1", "s2"])],
    )
    assert allowed(compiled(inventory)["s1"]) == {
        "one": ("10.77.0.0/16", "fd77:ac3e::/48"),
        "two": ("10.77.0.2/32", "fd77:ac3e::2/128"),
    }


def test_own_subnets_are_cut_out_of_a_pool_that_goes_to_the_hub() -> None:
    inventory = fleets.inventory(
        [fleets.host("hub"), fleets.host("site", nat=True, subnets=["10.77.0.0/17"])],
        [fleets.hub(["hub"], ["site"])],
        pools=["10.77.0.0/16"],
    )
    bundle = compiled(inventory)["site"]
    assert allowed(bundle) == {"hub": ("10.77.128.0/17",)}
    assert bundle.interfaces[0].routes == (Route("10.77.128.0/17", bundle.interfaces[0].addresses[0][:-3]),)


def test_subnets_that_lie_together_behind_one_peer_are_one_prefix() -> None:
    inventory = fleets.inventory(
        [
            fleets.host("hub"),
            fleets.host("site", nat=True, subnets=["192.168.0.0/24", "192.168.1.0/24", "192.168.2.0/24"]),
        ],
        [fleets.mesh("hub", "site")],
        pools=["10.77.0.0/16"],
    )
    assert allowed(compiled(inventory)["hub"]) == {
        "site": ("10.77.0.2/32", "192.168.0.0/23", "192.168.2.0/24"),
    }


def test_a_family_that_a_host_has_no_address_in_is_none_of_its_business() -> None:
    inventory = fleets.inventory(
        [
            fleets.host("a"),
            fleets.host("b", subnets=["fd99::/64"]),
            fleets.host("c", subnets=["fd99:0:0:1::/64"]),
        ],
        [fleets.mesh("a", "b", "c")],
        pools=["10.77.0.0/16"],
    )
    bundles = compiled(inventory)
    assert allowed(bundles["a"])["b"] == ("10.77.0.2/32",)
    assert allowed(bundles["c"])["b"] == ("10.77.0.2/32", "fd99::/64")
    assert Route("fd99::/64", None) in bundles["c"].interfaces[0].routes


@st.composite
def hubbed(draw: st.DrawFn) -> tuple[Inventory, Inventory]:
    """A fleet with spokes on all its hubs, and the same one with a spoke more."""
    hubs = [fleets.host(f"hub{n}") for n in range(draw(st.integers(1, 4)))]
    others = [fleets.host(f"core{n}", subnets=[f"172.16.{n}.0/24"]) for n in range(draw(st.integers(0, 2)))]
    spokes = [
        fleets.host(
            f"s{n}", nat=draw(st.booleans()), subnets=[f"192.168.{n}.0/24"] if draw(st.booleans()) else []
        )
        for n in range(draw(st.integers(0, 6)))
    ]
    meshed = [*hubs, *others] if draw(st.booleans()) or others else []
    new = fleets.host("new", nat=draw(st.booleans()))
    place = draw(st.integers(0, len(spokes)))
    more = [*spokes[:place], new, *spokes[place:]]
    return _fleet(hubs, others, spokes, meshed), _fleet(hubs, others, more, meshed)


def _fleet(hubs: list[Host], others: list[Host], spokes: list[Host], meshed: list[Host]) -> Inventory:
    rules: list[Rule] = [fleets.hub([h.name for h in hubs], [s.name for s in spokes])]
    if len(meshed) > 1:
        rules.append(fleets.mesh(*[host.name for host in meshed]))
    return fleets.inventory([*hubs, *others, *spokes], rules)


@given(hubbed())
@settings(deadline=None)
def test_a_new_spoke_changes_its_hubs_and_itself_alone(fleets_: tuple[Inventory, Inventory]) -> None:
    before, after = fleets_
    given_addresses = identities(before)
    hosts = {
        name: replace(host, addresses=given_addresses[name].addresses) if name in given_addresses else host
        for name, host in after.hosts.items()
    }
    old, new = compiled(before), compiled(replace(after, hosts=hosts))
    changed = {name for name, bundle in new.items() if old.get(name) != bundle}
    assert changed == {"new", *(name for name in after.hosts if name.startswith("hub"))}
