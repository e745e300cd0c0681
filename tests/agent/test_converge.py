"""converge: what differs, in which order, and that doing it ends it."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.bundle import EVERYTHING, Bundle, Gateway, Interface, Peer, Route
from agent.converge import converge
from agent.converge.network import place
from agent.egress import Rule
from agent.operations import (
    AddInterface,
    AddRule,
    RemoveAllowedIPs,
    RemoveFirewall,
    RemoveInterface,
    RemovePeer,
    RemoveRule,
    SetDevice,
    SetFirewall,
    SetForwarding,
    SetMarkValidation,
    SetPeer,
    SetRoute,
    Step,
)
from agent.report import FOREIGN, Observed, ObservedFirewall, ObservedInterface, ObservedPeer
from agent.secret import SecretRef
from tests.agent.simulated_host import SimulatedHost, owner

KEY = SecretRef("key/a", 1)
PSK = SecretRef("psk/a~b", 1)


def key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


def peer(number: int, *prefixes: str, **fields: Any) -> Peer:
    given: dict[str, Any] = {"preshared_key": PSK, "endpoint": f"192.0.2.{number}:51820", **fields}
    return Peer(name=f"host{number}", public_key=key(number), allowed_ips=prefixes, **given)


def interface(*peers: Peer, **fields: Any) -> Interface:
    values: dict[str, Any] = {
        "name": "wg0",
        "backend": "auto",
        "private_key": KEY,
        "public_key": key(200),
        "listen_port": 51820,
        "mtu": 1420,
        "addresses": ("10.0.0.1/32",),
        "routes": (Route("10.0.0.0/8", "10.0.0.1"),),
        **fields,
    }
    return Interface(peers=peers, **values)


def bundle(*interfaces: Interface, **fields: Any) -> Bundle:
    return Bundle(
        version=1, fleet="0" * 32, fleet_name="t", host="a", revision=1, interfaces=interfaces, **fields
    )


CLAMP = Gateway(clamp_mss=True)
MASQUERADE = Gateway(True, ("eth0", "eth1"), ("10.0.0.0/8", "fd77::/48"))
GATEWAYS = [None, None, CLAMP, MASQUERADE]
WANTED = bundle(interface(peer(2, "10.0.0.2/32", "10.2.0.0/16"), peer(3, "10.0.0.3/32")))


def carry_out(wanted: Bundle, host: SimulatedHost, previous: Optional[Bundle] = None) -> tuple[Step, ...]:
    steps = converge(wanted, host.observe(), previous)
    for step in steps:
        host.execute(step)
    return steps


def done(wanted: Bundle, **options: Any) -> SimulatedHost:
    host = SimulatedHost(**options)
    carry_out(wanted, host)
    return host


def with_peer(observed: Observed, number: int, **fields: Any) -> Observed:
    """`observed` with other values in one peer of its first interface."""
    first, *others = observed.interfaces
    peers = tuple(replace(p, **fields) if p.public_key == key(number) else p for p in first.peers)
    return replace(observed, interfaces=(replace(first, peers=peers), *others))


def with_interface(observed: Observed, **fields: Any) -> Observed:
    first, *others = observed.interfaces
    return replace(observed, interfaces=(replace(first, **fields), *others))


def test_a_bare_host_gets_everything_in_a_safe_order() -> None:
    steps = converge(replace(WANTED, forwarding=True), Observed(), None)
    assert [(step.change.layer, step.change.item) for step in steps] == [
        ("interface", "wg0"),
        ("device", "wg0 private_key"),
        ("device", "wg0 listen_port"),
        ("interface", "wg0 mtu"),
        ("peer", "wg0 peer host2"),
        ("peer", "wg0 peer host3"),
        ("address", "wg0 10.0.0.1/32"),
        ("interface", "wg0 link"),
        ("route", "wg0 10.0.0.0/8"),
        ("forwarding", "ip forwarding"),
    ]


def test_done_is_done() -> None:
    host = done(WANTED)
    assert converge(WANTED, host.observe(), WANTED) == ()
    assert converge(WANTED, host.observe(), None) == ()


@pytest.mark.parametrize("volatile", [{"latest_handshake": 5.0}, {"rx_bytes": 9}, {"tx_bytes": 9}])
def test_what_lives_is_no_difference(volatile: dict[str, Any]) -> None:
    assert converge(WANTED, with_peer(done(WANTED).observe(), 2, **volatile), WANTED) == ()


def test_a_peer_that_roamed_is_left_where_it_is() -> None:
    roamed = with_peer(done(WANTED).observe(), 2, endpoint="198.51.100.7:999")
    assert converge(WANTED, roamed, WANTED) == ()


def test_an_endpoint_that_the_operator_changed_is_set() -> None:
    changed = bundle(
        interface(peer(2, "10.0.0.2/32", "10.2.0.0/16", endpoint="new.example:1"), peer(3, "10.0.0.3/32"))
    )
    (step,) = converge(changed, done(WANTED).observe(), WANTED)
    assert step.operation == SetPeer("wg0", "host2", key(2), endpoint="new.example:1")
    assert (step.change.expected, step.change.actual) == ("new.example:1", "192.0.2.2:51820")


def test_an_endpoint_that_was_never_reached_is_set_although_nothing_was_finished_before() -> None:
    changed = bundle(
        interface(peer(2, "10.0.0.2/32", "10.2.0.0/16", endpoint="192.0.2.99:1"), peer(3, "10.0.0.3/32"))
    )
    assert [step.change.item for step in converge(changed, done(WANTED).observe(), None)] == [
        "wg0 peer host2 endpoint"
    ]


def test_a_device_without_the_endpoint_gets_it() -> None:
    without = with_peer(done(WANTED).observe(), 2, endpoint=None)
    assert [step.change.item for step in converge(WANTED, without, WANTED)] == ["wg0 peer host2 endpoint"]


def test_a_name_is_compared_as_text() -> None:
    named = bundle(interface(peer(2, "10.0.0.2/32", endpoint="oslo.example.net:51820")))
    host = done(named, resolve=lambda _: "203.0.113.7:51820")
    assert converge(named, host.observe(), named) == ()


def test_a_peer_that_has_to_call_keeps_the_endpoint_that_it_called_from() -> None:
    caller = bundle(interface(peer(2, "10.0.0.2/32", endpoint=None)))
    called = with_peer(done(caller).observe(), 2, endpoint="198.51.100.7:999")
    assert converge(caller, called, caller) == ()


def test_keys_are_told_apart_by_reference() -> None:
    observed = with_interface(done(WANTED).observe(), private_key=FOREIGN)
    (step,) = converge(WANTED, observed, WANTED)
    assert step.operation == SetDevice("wg0", private_key=KEY)
    assert (step.change.expected, step.change.actual) == ("key/a generation 1", "foreign generation 1")


def test_a_preshared_key_comes_and_goes() -> None:
    without = bundle(interface(peer(2, "10.0.0.2/32", preshared_key=None)))
    (away,) = converge(without, done(bundle(interface(peer(2, "10.0.0.2/32")))).observe(), None)
    assert away.operation == SetPeer("wg0", "host2", key(2), no_preshared_key=True)
    assert away.change.action == "change"
    (back,) = converge(bundle(interface(peer(2, "10.0.0.2/32"))), done(without).observe(), None)
    assert back.operation == SetPeer("wg0", "host2", key(2), preshared_key=PSK)


@pytest.mark.parametrize(
    ("fields", "items"),
    [
        ({"listen_port": 1}, ["wg0 listen_port"]),
        ({"fwmark": 1}, ["wg0 fwmark"]),
        ({"mtu": 1280}, ["wg0 mtu"]),
        ({"up": False, "routes": ()}, ["wg0 link", "wg0 10.0.0.0/8"]),
        ({"addresses": ()}, ["wg0 10.0.0.1/32"]),
        ({"addresses": ("10.0.0.1/32", "10.9.9.9/32")}, ["wg0 10.9.9.9/32"]),
        ({"addresses": ("10.0.0.1/32", "fe80::1/64")}, []),
        ({"routes": (Route("10.0.0.0/8"),)}, ["wg0 10.0.0.0/8"]),
        ({"routes": (Route("10.0.0.0/8", "10.0.0.1"), Route("10.5.0.0/16"))}, ["wg0 10.5.0.0/16"]),
    ],
)
def test_what_was_edited_by_hand_differs(fields: dict[str, Any], items: list[str]) -> None:
    edited = with_interface(done(WANTED).observe(), **fields)
    assert [step.change.item for step in converge(WANTED, edited, WANTED)] == items


def test_a_random_listen_port_is_whatever_it_is() -> None:
    random_port = bundle(interface(listen_port=0))
    observed = with_interface(done(random_port).observe(), listen_port=40123)
    assert converge(random_port, observed, random_port) == ()


def test_prefixes_move_by_being_added_to_their_new_peer() -> None:
    moved = bundle(interface(peer(2, "10.0.0.2/32"), peer(3, "10.0.0.3/32", "10.2.0.0/16")))
    host = done(WANTED)
    (step,) = carry_out(moved, host, WANTED)
    assert step.operation == SetPeer("wg0", "host3", key(3), allowed_ips=("10.2.0.0/16",))
    assert converge(moved, host.observe(), moved) == ()


def test_a_new_key_of_a_host_takes_the_prefixes_before_the_old_one_goes() -> None:
    rotated = bundle(
        interface(replace(peer(9, "10.0.0.2/32", "10.2.0.0/16"), name="host2"), peer(3, "10.0.0.3/32"))
    )
    added, removed = carry_out(rotated, done(WANTED), WANTED)
    assert isinstance(added.operation, SetPeer)
    assert added.operation.new
    assert removed.operation == RemovePeer("wg0", "host2", key(2))


def test_prefixes_that_nobody_has_any_more_are_taken_last() -> None:
    less = bundle(interface(peer(2, "10.0.0.2/32"), peer(3, "10.0.0.3/32", "10.3.0.0/16")))
    added, removed = carry_out(less, done(WANTED), WANTED)
    assert isinstance(added.operation, SetPeer)
    assert removed.operation == RemoveAllowedIPs("wg0", "host2", key(2), ("10.2.0.0/16",))
    assert removed.change.action == "remove"


@pytest.mark.parametrize(("auto", "backend"), [("kernel", "userspace"), ("userspace", "kernel")])
def test_a_device_of_the_wrong_backend_is_replaced_with_all_that_is_on_it(auto: str, backend: Any) -> None:
    host = done(WANTED, auto=auto)
    wanted = bundle(replace(WANTED.interfaces[0], backend=backend))
    first, *_ = carry_out(wanted, host, WANTED)
    assert first.operation == AddInterface("wg0", backend, instead=True)
    assert converge(wanted, host.observe(), wanted) == ()


def test_a_device_that_hangs_is_replaced_with_all_that_is_on_it() -> None:
    host = done(WANTED)
    seen = host.observe().interfaces[0]
    hung = Observed((replace(seen, private_key=None, listen_port=0, peers=(), answers=False),))
    first, *others = converge(WANTED, hung, WANTED)
    assert first.operation == AddInterface("wg0", "auto", instead=True)
    assert (first.change.action, first.change.actual) == ("change", "userspace, hangs")
    for step in (first, *others):
        host.execute(step)
    assert converge(WANTED, host.observe(), WANTED) == ()


def test_routes_change_over_to_another_interface_at_once() -> None:
    detour = bundle(
        interface(peer(2, "10.0.0.2/32", "10.2.0.0/16"), peer(3, "10.0.0.3/32"), routes=()),
        interface(peer(2, "10.0.0.2/32"), name="wgT", listen_port=51821),
    )
    host = done(WANTED)
    steps = carry_out(detour, host, WANTED)
    assert [step.operation for step in steps if step.change.layer == "route"] == [
        SetRoute("wgT", Route("10.0.0.0/8", "10.0.0.1"), instead=True)
    ]
    assert converge(detour, host.observe(), detour) == ()


def test_a_peer_that_somebody_added_by_hand_goes_in_one_step() -> None:
    observed = done(WANTED).observe()
    stranger = ObservedPeer(key(99), allowed_ips=("10.9.0.0/16",))
    edited = with_interface(observed, peers=(*observed.interfaces[0].peers, stranger))
    (step,) = converge(WANTED, edited, WANTED)
    assert step.operation == RemovePeer("wg0", key(99), key(99))
    assert (step.change.expected, step.change.actual) == (None, ["10.9.0.0/16"])


def test_interfaces_of_no_bundle_go_last() -> None:
    host = done(bundle(interface(name="old", listen_port=1, routes=())))
    steps = carry_out(WANTED, host)
    assert steps[-1].operation == RemoveInterface("old")
    assert list(host.devices) == ["wg0"]


def test_an_empty_bundle_takes_everything_down() -> None:
    host = done(replace(WANTED, forwarding=True))
    carry_out(bundle(), host, replace(WANTED, forwarding=True))
    assert host.observe() == Observed()


@pytest.mark.parametrize(
    ("wanted", "observed", "before", "expected"),
    [
        (True, False, False, [SetForwarding(True)]),
        (True, True, False, []),
        (False, True, True, [SetForwarding(False)]),
        (False, True, False, []),
        (False, True, None, []),
        (False, False, True, []),
    ],
)
def test_forwarding_is_switched_off_only_where_we_wanted_it_before(
    wanted: bool, observed: bool, before: Optional[bool], expected: list[SetForwarding]
) -> None:
    previous = None if before is None else bundle(forwarding=before)
    steps = converge(bundle(forwarding=wanted), Observed((), observed), previous)
    assert [step.operation for step in steps] == expected


# Random bundles and hosts: few keys, prefixes and names, so that they collide in every way.

PREFIXES = [f"10.{n}.0.0/16" for n in range(6)] + ["fd00::/64"]
ADDRESSES = ["10.0.0.1/32", "10.0.0.2/32", "fd00::1/128"]


@st.composite
def interfaces(draw: st.DrawFn, name: str, destinations: list[str]) -> Interface:
    numbers = draw(st.sampled_from([(1, 2, 3), (1, 2, 4), (2, 3), (3, 4), (1,), ()]))
    owners = {prefix: draw(st.sampled_from([*numbers, 0])) for prefix in PREFIXES}
    peers = [
        peer(
            number,
            *(prefix for prefix, owner in owners.items() if owner == number),
            preshared_key=draw(st.sampled_from([PSK, PSK, None, replace(PSK, generation=2)])),
            endpoint=draw(st.sampled_from([None, "192.0.2.1:1", "192.0.2.2:2"])),
            persistent_keepalive=draw(st.sampled_from([0, 25])),
        )
        for number in numbers
    ]
    addresses = tuple(draw(st.lists(st.sampled_from(ADDRESSES), unique=True)))
    mark = draw(st.sampled_from([7, 8] if set(destinations) & set(EVERYTHING) else [0, 7]))
    sources = [None, *(address.split("/")[0] for address in addresses)]
    return interface(
        *peers,
        name=name,
        backend=draw(st.sampled_from(["auto", "auto", "auto", "kernel", "userspace"])),
        private_key=draw(st.sampled_from([KEY, replace(KEY, generation=2)])),
        listen_port=draw(st.sampled_from([51820, 51821])),
        mtu=draw(st.sampled_from([1420, 1280])),
        fwmark=mark,
        addresses=addresses,
        routes=tuple(
            Route(d, draw(st.sampled_from(sources)), mark if d in EVERYTHING else None) for d in destinations
        ),
        gateway=draw(st.sampled_from(GATEWAYS)),
    )


@st.composite
def bundles(draw: st.DrawFn) -> Bundle:
    names = draw(st.sampled_from([("wg0",), ("wg0", "wg1"), ("wg0", "wgT"), ("wg1",), ()]))
    owners = {prefix: draw(st.sampled_from([*names, None])) for prefix in [*PREFIXES, *EVERYTHING]}
    made = [draw(interfaces(n, [p for p, owner in owners.items() if owner == n])) for n in names]
    return bundle(*made, forwarding=draw(st.booleans()))


def mangled(draw: st.DrawFn, observed: Observed) -> Observed:
    """What hands, roaming and crashes do to a host."""
    found = []
    for seen in observed.interfaces:
        if not draw(st.integers(0, 5)):
            continue
        peers = tuple(
            replace(
                p,
                endpoint=draw(st.sampled_from([p.endpoint, "198.51.100.1:1"])),
                rx_bytes=draw(st.integers(0, 9)),
            )
            for p in seen.peers
            if draw(st.integers(0, 5))
        )
        up = bool(draw(st.integers(0, 4)))
        private_key = draw(st.sampled_from([seen.private_key, FOREIGN]))
        found.append(
            replace(seen, peers=peers, up=up, routes=seen.routes if up else (), private_key=private_key)
        )
    gateways = tuple(
        draw(st.sampled_from([seen, replace(seen, altered="changed"), ObservedFirewall(seen.interface)]))
        for seen in observed.firewalls
        if draw(st.integers(0, 4))
    )
    rules = tuple(rule for rule in observed.rules if draw(st.integers(0, 4)))
    validated = observed.marks_validated and bool(draw(st.integers(0, 4)))
    return replace(
        observed, interfaces=tuple(found), firewalls=gateways, rules=rules, marks_validated=validated
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[Bundle, Bundle, SimulatedHost]:
    """What was meant, what is meant now, and a host."""
    before, wanted = draw(bundles()), draw(bundles())
    auto = draw(st.sampled_from(["kernel", "userspace"]))
    host = done(before, auto=auto)
    return before, wanted, SimulatedHost(mangled(draw, host.observe()), auto=auto)


@settings(max_examples=200, deadline=None)
@given(situations())
def test_doing_the_steps_converges_and_never_leaves_a_prefix_alone(
    situation: tuple[Bundle, Bundle, SimulatedHost],
) -> None:
    before, wanted, host = situation
    steps = converge(wanted, host.observe(), before)
    replaced = {
        s.operation.interface for s in steps if isinstance(s.operation, AddInterface) and s.operation.instead
    }
    lasting = [
        (i.name, prefix)
        for i in wanted.interfaces
        if i.name not in replaced
        for p in i.peers
        for prefix in p.allowed_ips
        if owner(host, i.name, prefix) is not None
    ]
    routed = {
        place(r) for d in host.devices.values() if d.seen.name not in replaced for r in d.routes.values()
    }
    routed &= {place(r) for i in wanted.interfaces for r in i.routes}
    for step in steps:
        host.execute(step)
        assert all(owner(host, name, prefix) is not None for name, prefix in lasting)
        assert routed <= {where for d in host.devices.values() for where in d.routes}
    assert converge(wanted, host.observe(), wanted) == ()


@settings(max_examples=100, deadline=None)
@given(situations())
def test_nothing_is_removed_before_everything_is_added(
    situation: tuple[Bundle, Bundle, SimulatedHost],
) -> None:
    before, wanted, host = situation
    actions = [
        step.change.action == "remove"
        for step in converge(wanted, host.observe(), before)
        if not isinstance(step.operation, (SetForwarding, RemoveRule))
    ]
    assert actions == sorted(actions)


@settings(max_examples=200, deadline=None)
@given(situations())
def test_packets_are_led_into_a_full_tunnel_only_while_it_is_complete(
    situation: tuple[Bundle, Bundle, SimulatedHost],
) -> None:
    before, wanted, host = situation

    def complete(rule: Rule) -> bool:
        """Whether all is there that the tunnel of a rule needs."""
        everything, mark = ("0.0.0.0/0", "::/0")[rule.version == 6], rule.but_mark
        ways = [d for d in host.devices.values() if (everything, mark) in d.routes]
        guarded = [
            way
            for way in ways
            if (seen := host.firewalls.get(way.seen.name)) and seen.guard and seen.guard.mark == mark
        ]
        return any(way.seen.fwmark == mark for way in guarded) and (host.marks_validated or rule.version == 6)

    for step in converge(wanted, host.observe(), before):
        whole = [rule for rule in host.rules if rule.but_mark and complete(rule)]
        host.execute(step)
        if isinstance(step.operation, AddRule) and step.operation.rule.but_mark:
            assert complete(step.operation.rule)
        replacing = isinstance(step.operation, AddInterface) and step.operation.instead
        assert replacing or all(complete(rule) for rule in whole if rule in host.rules)


@settings(max_examples=100, deadline=None)
@given(situations())
def test_a_peer_that_did_not_change_is_not_touched(situation: tuple[Bundle, Bundle, SimulatedHost]) -> None:
    """Its device is, where that is made anew or gets another key."""
    before, wanted, host = situation
    observed = host.observe()
    seen = {(i.name, p.public_key): p for i in observed.interfaces for p in i.peers}
    old = {(i.name, p.public_key): p for i in before.interfaces for p in i.peers}
    steps = converge(wanted, observed, before)
    fresh = {step.operation.interface for step in steps if isinstance(step.operation, AddInterface)}
    for i in wanted.interfaces:
        for p in i.peers:
            device = seen.get((i.name, p.public_key))
            same = old.get((i.name, p.public_key)) == p and device is not None and _is(device, p)
            if same and i.name not in fresh:
                assert [s for s in steps if getattr(s.operation, "public_key", None) == p.public_key
                        and getattr(s.operation, "interface", None) == i.name] == []  # fmt: skip


def _is(device: ObservedPeer, wanted: Peer) -> bool:
    return (device.endpoint is not None or wanted.endpoint is None) and (
        (device.preshared_key, set(device.allowed_ips), device.persistent_keepalive)
        == (wanted.preshared_key, set(wanted.allowed_ips), wanted.persistent_keepalive)
    )


@settings(max_examples=100, deadline=None)
@given(situations(), st.integers(0, 30))
def test_an_interrupted_apply_is_finished_by_the_next(
    situation: tuple[Bundle, Bundle, SimulatedHost], stop: int
) -> None:
    before, wanted, host = situation
    for step in converge(wanted, host.observe(), before)[:stop]:
        host.execute(step)
    carry_out(wanted, host, before)
    assert converge(wanted, host.observe(), wanted) == ()


@settings(max_examples=100, deadline=None)
@given(situations())
def test_firewall_tables_come_first_and_go_last(situation: tuple[Bundle, Bundle, SimulatedHost]) -> None:
    before, wanted, host = situation
    order = [
        {RemoveRule: -1, SetFirewall: 0, RemoveFirewall: 2}.get(type(step.operation), 1)
        for step in converge(wanted, host.observe(), before)
    ]
    assert order == sorted(order)


def test_a_firewall_table_is_told_as_what_it_does() -> None:
    deeds = ["MSS clamp", "masquerade to eth0 eth1 from 10.0.0.0/8 fd77::/48"]
    host = done(bundle(interface(gateway=CLAMP)))
    (step,) = carry_out(bundle(interface(gateway=MASQUERADE)), host)
    change = step.change
    assert (change.layer, change.item, change.action) == ("firewall", "wg0", "change")
    assert (change.expected, change.actual) == (deeds, ["MSS clamp"])

    altered = ObservedFirewall("wg0", MASQUERADE, "without 'masquerade IPv4'")
    found = replace(host.observe(), firewalls=(altered,))
    (step,) = converge(bundle(interface(gateway=MASQUERADE)), found, None)
    assert step.change.actual == [*deeds, "but without 'masquerade IPv4'"]
    (step,) = converge(bundle(interface()), found, None)
    assert (step.change.action, step.change.expected) == ("remove", None)


TUNNEL = interface(
    peer(2, "10.0.0.2/32", *EVERYTHING),
    fwmark=7,
    addresses=("10.0.0.1/32", "fd00::1/128"),
    routes=(Route("0.0.0.0/0", "10.0.0.1", 7), Route("::/0", "fd00::1", 7)),
)


def test_a_full_tunnel_comes_and_goes() -> None:
    host = done(bundle(interface(peer(2, "10.0.0.2/32"), routes=())))
    steps = carry_out(bundle(TUNNEL), host, bundle(interface(peer(2, "10.0.0.2/32"), routes=())))
    assert (steps[0].change.layer, steps[0].change.expected) == (
        "firewall",
        ["guard of 10.0.0.1 fd00::1 (mark 7)"],
    )
    rules = [step for step in steps if isinstance(step.operation, AddRule)]
    assert steps[-5].operation == SetMarkValidation(True)
    assert list(steps[-4:]) == rules
    assert [(step.change.item, step.change.expected) for step in rules] == [
        (f"wg0 {version} {rule}", "everything via host2")
        for version in ("IPv4", "IPv6")
        for rule in ("lookup main suppress_prefixlength 0", "not fwmark 7 lookup 7")
    ]
    steps = carry_out(bundle(), host, bundle(TUNNEL))
    assert [step.change.actual for step in steps[:4]] == ["everything via host2"] * 4
    left = [step.operation.rule for step in steps[:4] if isinstance(step.operation, RemoveRule)]
    assert [rule.specific for rule in left] == [
        False,
        False,
        True,
        True,
    ]  # its networks go last
    assert [type(step.operation) for step in steps[4:]] == [
        RemoveInterface,
        SetMarkValidation,
        RemoveFirewall,
    ]
    assert host.observe() == Observed()


def test_what_is_missing_of_a_full_tunnel_is_made_again() -> None:
    whole = done(bundle(TUNNEL)).observe()
    for damaged in (
        replace(whole, rules=whole.rules[1:]),
        replace(whole, marks_validated=False),
        replace(whole, firewalls=()),
        with_interface(whole, fwmark=0),
        with_interface(whole, routes=whole.interfaces[0].routes[1:]),
    ):
        host = SimulatedHost(damaged)
        assert len(carry_out(bundle(TUNNEL), host, bundle(TUNNEL))) == 1
        assert converge(bundle(TUNNEL), host.observe(), bundle(TUNNEL)) == ()


def test_a_rule_of_ours_that_nobody_wants_is_removed() -> None:
    stray = Rule(4, 5, 9, but_mark=9)
    (step,) = converge(bundle(), Observed(rules=(stray,)), None)
    assert (step.operation, step.change.item) == (RemoveRule(stray), "IPv4 not fwmark 9 lookup 9")


def test_in_a_namespace_of_its_own_everything_needs_no_rules() -> None:
    inside = replace(TUNNEL, netns="blue", fwmark=0, routes=(Route("0.0.0.0/0"),))
    steps = converge(bundle(inside), Observed(), None)
    assert {step.change.layer for step in steps} & {"egress", "firewall"} == set()


def test_a_table_that_outlived_its_interface_is_removed() -> None:
    orphan = Observed(firewalls=(ObservedFirewall("wg7", CLAMP),))
    assert [step.operation for step in converge(bundle(), orphan, None)] == [RemoveFirewall("wg7")]


def test_the_device_of_another_kind_is_named() -> None:
    observed = Observed((ObservedInterface("wg0", "userspace", up=True, mtu=1420),))
    change = converge(bundle(interface(backend="kernel")), observed, None)[0].change
    assert (change.action, change.expected, change.actual) == ("change", "kernel", "userspace")
