"""What a host's variables make of it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from fleet.inventory.model import Connection, HubRule, LinkRule, MeshRule
from tests.fleet.inventory.write import FLEET, good, host_messages, messages, one_host, write


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ("", "fra1:51820"),
        ("ansible_host: 203.0.113.10", "203.0.113.10:51820"),
        ("ansible_host: 203.0.113.10, ansible_ssh_host: 203.0.113.11", "203.0.113.11:51820"),
        ('ansible_host: "2001:DB8::1"', "[2001:db8::1]:51820"),
        ("ansible_host: FRA1.example.net", "fra1.example.net:51820"),
        ("ansible_host: 203.0.113.10, fleet_listen_port: 443", "203.0.113.10:443"),
        ('ansible_host: 203.0.113.10, fleet_endpoint: "vpn.example.net:1"', "vpn.example.net:1"),
        ('fleet_endpoint: "[2001:db8:0:0::1]:1"', "[2001:db8::1]:1"),
        ("ansible_host: 203.0.113.10, fleet_nat: true", None),
        ('fleet_nat: true, fleet_endpoint: "vpn.example.net:1"', "vpn.example.net:1"),
        ("ansible_connection: local, fleet_nat: true", None),
        ("ansible_connection: local, ansible_host: 203.0.113.10", "203.0.113.10:51820"),
        ('ansible_connection: local, fleet_endpoint: "vpn.example.net:1"', "vpn.example.net:1"),
    ],
)
def test_endpoint(tmp_path: Path, variables: str, endpoint: str | None) -> None:
    assert one_host(tmp_path, variables).endpoint == endpoint


@pytest.mark.parametrize(
    "variables", ["ansible_connection: local", "ansible_host: 127.0.0.1", "ansible_host: a_b:c"]
)
def test_a_host_that_nobody_could_call_by_its_address(tmp_path: Path, variables: str) -> None:
    (message,) = host_messages(tmp_path, variables)
    assert message.endswith("set fleet_endpoint to HOST:PORT, or fleet_nat: true if nobody can call it")


def test_defaults_and_all_variables(tmp_path: Path) -> None:
    host = one_host(tmp_path, "")
    assert (host.masquerade, host.clamp_mss, host.netns) == ((), None, None)
    assert (host.interface, host.listen_port, host.mtu, host.backend) == ("wg0", 51820, None, "auto")
    assert (host.nat, host.transit, host.self_heal, host.addresses, host.subnets) == (False,) * 3 + ((),) * 2
    host = one_host(
        tmp_path,
        "fleet_addresses: [10.77.0.9, 'fd77:ac3e::9'], fleet_subnets: [10.1.0.0/16], fleet_transit: true, "
        "fleet_interface: mesh0, fleet_listen_port: 443, fleet_mtu: 1380, fleet_backend: userspace, "
        "fleet_self_heal: on, fleet_masquerade: [eth0, enp2s0.7], fleet_clamp_mss: false, fleet_netns: web",
    )
    assert (host.masquerade, host.clamp_mss, host.netns) == (("eth0", "enp2s0.7"), False, "web")
    assert (host.interface, host.listen_port, host.mtu, host.backend) == ("mesh0", 443, 1380, "userspace")
    assert (host.transit, host.self_heal) == (True, True)
    assert host.addresses == (ip_address("10.77.0.9"), ip_address("fd77:ac3e::9"))
    assert host.subnets == (ip_network("10.1.0.0/16"),)
    assert host.place("fleet_mtu").column == host.places["fleet_mtu"].column
    assert host.place("fleet_addresses[1]").column == host.place("fleet_addresses").column + 12
    assert host.place("fleet_nat") == host.where


def test_the_fleets_own_defaults(tmp_path: Path) -> None:
    text = FLEET + "      interface: mesh0\n      listen_port: 443\n      mtu: 1300\n  hosts:\n    fra1:\n"
    host = good(write(tmp_path, text)).hosts["fra1"]
    assert (host.interface, host.listen_port, host.mtu, host.endpoint) == ("mesh0", 443, 1300, "fra1:443")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ("fleet_subnets: [224.0.0.0/4]", "fleet_subnets: '224.0.0.0/4' is a multicast address: it cannot"),
        ("fleet_subnets: [10.1.0.0/16, 7]", "fleet_subnets: expected text, not the number 7; quote it"),
        ("fleet_subnets: {a: b}", "fleet_subnets: expected a list of networks, not a mapping"),
        (
            "fleet_addresses: [10.77.0.9/32]",
            "fleet_addresses: '10.77.0.9/32' has a prefix length; write 10.77",
        ),
        (
            "fleet_interface: way-too-long-name",
            "fleet_interface: interface 'way-too-long-name': 1 to 15 letters",
        ),
        ("fleet_interface: a/b", "fleet_interface: interface 'a/b': 1 to 15 letters"),
        ("fleet_listen_port: 0", "fleet_listen_port: 0 is not between 1 and 65535"),
        (
            "fleet_listen_port: 1.5",
            "fleet_listen_port: expected a number from 1 to 65535, not the number 1.5",
        ),
        ("fleet_mtu: true", "fleet_mtu: expected a number from 1280 to 65535, not the boolean true"),
        ("fleet_backend: kernl", "fleet_backend: expected auto, kernel or userspace, not 'kernl'"),
        ("fleet_backend: [kernel]", "fleet_backend: expected auto, kernel or userspace, not a list"),
        ("fleet_nat: 1", "fleet_nat: expected true or false, not the number 1"),
        ("fleet_nat: ", "fleet_nat: expected true or false, not nothing"),
        ("fleet_natt: true", "unknown variable 'fleet_natt'; did you mean 'fleet_nat'?"),
        ("fleet_zzz: true", "unknown variable 'fleet_zzz'"),
        ('fleet_endpoint: "a b:1"', "fleet_endpoint: 'a b' is neither a host name nor an IP address"),
        ('fleet_endpoint: "1.2.3:1"', "fleet_endpoint: '1.2.3' is neither a host name nor an IP address"),
        ('fleet_endpoint: "a:0"', "fleet_endpoint: endpoint 'a:0': expected HOST:PORT"),
        ('fleet_endpoint: "[fe80::1]:1"', "fleet_endpoint: 'fe80::1' is a link-local address: other hosts"),
        ('fleet_endpoint: "{{ x }}:1"', "fleet_endpoint: a template, which fleet does not evaluate"),
        ("fleet_mtu: {{ mtu }}", "fleet_mtu: a template, which fleet does not evaluate"),
        (
            "fleet_subnets: [!vault x]",
            "fleet_subnets: encrypted with ansible-vault, which fleet does not open",
        ),
    ],
)
def test_refused_values(tmp_path: Path, variables: str, message: str) -> None:
    (found,) = host_messages(tmp_path, variables)
    assert found.startswith(message)


def test_a_value_of_many_hosts_is_refused_once_and_even_where_it_loses(tmp_path: Path) -> None:
    text = FLEET + "  hosts:\n    web[1:9]: {fleet_mtu: 1}\n  children:\n    g:\n      vars: {fleet_mtu: 2}\n"
    assert messages(write(tmp_path, text)) == [
        "7:27: fleet_mtu: 1 is not between 1280 and 65535",
        "10:25: fleet_mtu: 2 is not between 1280 and 65535",
    ]


def test_connection(tmp_path: Path) -> None:
    host = one_host(
        tmp_path,
        "ansible_host: 203.0.113.10, ansible_port: 2222, ansible_user: ops, "
        "ansible_ssh_private_key_file: /k, "
        'ansible_become: "yes", ansible_become_user: admin, ansible_become_password: hunter2, '
        'ansible_ssh_common_args: "-o ProxyJump=a -J b -C", ansible_ssh_extra_args: -oUserKnownHostsFile=/x, '
        "ansible_connection: smart",
    )
    assert host.connection == Connection(
        kind="ssh",
        host="203.0.113.10",
        port=2222,
        user="ops",
        private_key_file=Path("/k"),
        become=True,
        become_user="admin",
        become_password="hunter2",
        options=(("proxyjump", "a"), ("proxyjump", "b"), ("userknownhostsfile", "/x")),
    )
    assert "hunter2" not in repr(host)


def test_older_names_of_connection_variables(tmp_path: Path) -> None:
    login = one_host(
        tmp_path,
        'ansible_ssh_host: a, ansible_ssh_port: "22", ansible_ssh_user: 1000, ansible_private_key_file: /k, '
        "ansible_become_pass: x, ansible_connection: ansible.builtin.paramiko_ssh",
    ).connection
    assert (login.kind, login.host, login.port, login.user) == ("ssh", "a", 22, "1000")
    assert (login.private_key_file, login.become_password) == (Path("/k"), "x")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ("ansible_user: '{{ me }}'", "ansible_user: a template"),
        ("ansible_become_password: !vault x", "ansible_become_password: encrypted with ansible-vault"),
        ("ansible_ssh_extra_args: -F x", "ansible_ssh_extra_args: '-F' is not supported"),
        ("ansible_ssh_extra_args: -o", "ansible_ssh_extra_args: -o needs a value"),
        ("ansible_ssh_extra_args: -o x", "ansible_ssh_extra_args: -o 'x': expected Option=value"),
        ('ansible_ssh_extra_args: "-o \'x"', 'ansible_ssh_extra_args: "-o \'x": No closing quotation'),
        ("ansible_ssh_extra_args: [1]", "ansible_ssh_extra_args: expected arguments of ssh, not a list"),
        ("ansible_port: 1:30", "ansible_port: YAML reads 1:30 as 90, in base 60"),
    ],
)
def test_refused_connection_variables(tmp_path: Path, variables: str, message: str) -> None:
    (found,) = host_messages(tmp_path, variables)
    assert found.startswith(message)


def test_a_connection_variable_that_loses_is_ansibles_business(tmp_path: Path) -> None:
    text = (
        FLEET.replace("vars:", "vars:\n    ansible_user: '{{ me }}'")
        + "  hosts:\n    fra1: {ansible_user: ops}\n"
    )
    assert good(write(tmp_path, text)).hosts["fra1"].connection.user == "ops"


def test_rules(tmp_path: Path) -> None:
    text = FLEET + (
        "      topology:\n"
        "        - mesh: core\n"
        "        - {hub: core, spokes: [all, '!core']}\n"
        "        - link: [oslo, lima]\n"
        "  hosts: {oslo: , lima: }\n"
        "  children: {core: {hosts: {fra1: , sgp1: }}}\n"
    )
    rules = good(write(tmp_path, text)).rules
    assert [rule.where.line for rule in rules] == [7, 8, 9]
    mesh, hub, link = rules
    assert isinstance(mesh, MeshRule)
    assert mesh.hosts == ("fra1", "sgp1")
    assert isinstance(hub, HubRule)
    assert (hub.hubs, hub.spokes) == (("fra1", "sgp1"), ("oslo", "lima"))
    assert isinstance(link, LinkRule)
    assert link.hosts == ("oslo", "lima")


def test_without_a_topology_everyone_is_linked(tmp_path: Path) -> None:
    (rule,) = good(write(tmp_path, FLEET + "  hosts: {a: , b: }\n")).rules
    assert isinstance(rule, MeshRule)
    assert rule.hosts == ("a", "b")


def test_the_endpoint_of_a_host_may_not_lie_in_a_tunnel(tmp_path: Path) -> None:
    (message,) = host_messages(tmp_path, "ansible_host: 10.1.0.1, fleet_subnets: [10.1.0.0/16]")
    assert message.startswith("the endpoint 10.1.0.1:51820 of fra1 lies in 10.1.0.0/16 behind fra1")
    everything = host_messages(tmp_path, "ansible_host: 10.1.0.1, fleet_subnets: [0.0.0.0/0]")
    assert any("10.1.0.1:51820 of fra1 lies in 0.0.0.0/0 behind fra1" in message for message in everything)


@pytest.mark.parametrize(
    ("pool", "hosts", "fits"),
    [
        ("10.0.0.0/30", 2, True),
        ("10.0.0.0/30", 3, False),
        ("10.0.0.0/31", 2, True),
        ("10.0.0.0/32", 2, False),
        ("fd00::/126", 3, True),
        ("fd00::/126", 4, False),
        ("fd00::/127", 2, True),
        ("fd00::/128", 1, True),
    ],
)
def test_a_pool_has_room_for_the_hosts(tmp_path: Path, pool: str, hosts: int, fits: bool) -> None:
    text = f"all:\n  vars: {{fleet: {{name: x, pools: ['{pool}']}}}}\n  hosts:\n    h[1:{hosts}]:\n"
    assert [
        f"has {hosts - 1} addresses" in m or "has 1 addr" in m for m in messages(write(tmp_path, text))
    ] == ([] if fits else [True])


def test_pools_of_a_family_add_up_and_may_not_overlap(tmp_path: Path) -> None:
    text = "all:\n  vars: {fleet: {name: x, pools: [10.0.0.0/30, 10.0.0.4/30]}}\n  hosts:\n    h[1:4]:\n"
    assert messages(write(tmp_path, text)) == []
    text = text.replace("10.0.0.4/30", "10.0.0.0/29").replace("[1:4]", "[1:2]")
    (message,) = messages(write(tmp_path, text))
    assert "10.0.0.0/29 overlaps 10.0.0.0/30 on line 2" in message
