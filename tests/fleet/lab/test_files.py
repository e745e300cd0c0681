"""The texts that a lab writes: accounts, known hosts, wires, volumes."""

from __future__ import annotations

from fleet.lab.files import accounts, hosts, known_hosts_line, sudoers
from fleet.lab.layout import MACHINE, End, Node, User, Wire
from fleet.lab.volumes import volumes
from fleet.lab.wiring import configure, create, ends_of

PASSWD = """\
root:x:0:0:root:/elsewhere:/usr/sbin/nologin
daemon:x:1:1::/:/usr/sbin/nologin
old:x:1500:1500::/x:/bin/false
"""
SHADOW = "root:!:19000:0:99999:7:::\nold:$6$secret:19000:0:99999:7:::\n"
GROUP = "root:x:0:\ndaemon:x:1:\nold:x:1500:\nteam:x:1501:\n"


def test_accounts_can_log_in_with_a_key_and_with_nothing_else() -> None:
    found = accounts(PASSWD, SHADOW, GROUP, [User("ops", True), User("old", False), User("root", True)])
    assert found.passwd.splitlines() == [
        "root:x:0:0:root:/root:/bin/bash",
        "daemon:x:1:1::/:/usr/sbin/nologin",
        "old:x:1500:1500::/home/old:/bin/bash",
        "ops:x:1502:1502::/home/ops:/bin/bash",
    ]
    assert sorted(line.split(":")[:2] for line in found.shadow.splitlines()) == [
        ["old", "*"],
        ["ops", "*"],
        ["root", "*"],
    ]
    assert found.group.splitlines()[-1] == "ops:x:1502:"
    assert found.homes == (("/home/ops", 1502, 1502), ("/home/old", 1500, 1500), ("/root", 0, 0))


def test_only_who_becomes_root_may() -> None:
    assert sudoers([User("ops", True), User("jo", False)]) == "ops ALL=(ALL:ALL) NOPASSWD: ALL\n"


def test_known_hosts_as_openssh_writes_them() -> None:
    assert known_hosts_line("203.0.113.1", 22, "ssh-ed25519 AAAA") == "203.0.113.1 ssh-ed25519 AAAA\n"
    assert (
        known_hosts_line("2001:db8::1", 2222, "ssh-ed25519 AAAA") == "[2001:db8::1]:2222 ssh-ed25519 AAAA\n"
    )


def test_a_node_knows_itself() -> None:
    node = Node("a", "host", "a", False, names=("203.0.113.1 a.example.net",))
    assert hosts(node).splitlines()[-2:] == ["127.0.1.1 a", "203.0.113.1 a.example.net"]


def test_wires_become_lines_for_ip() -> None:
    near = End(MACHINE, "fl-1", ("169.254.1.2/32",), ("10.0.0.1/32 via 169.254.0.1 onlink src 169.254.1.2",))
    far = End(
        "a", "eth0", ("fd00::2/64",), ("::/0 via fd00::1", "10.0.0.0/8", "0.0.0.0/0 via 169.254.0.1 onlink")
    )
    wire = Wire(near, far)
    assert create([wire], {"a": 7}) == "link add name fl-1 type veth peer name eth0 netns 7\n"
    assert ends_of("a", [wire]) == [far]
    assert configure([near]).splitlines()[-1] == (
        "route replace 10.0.0.1/32 via 169.254.0.1 onlink src 169.254.1.2 dev fl-1"
    )
    assert configure([far]).splitlines() == [
        "link set lo up",
        "link set eth0 up",
        "addr replace fd00::2/64 dev eth0 nodad",
        "route replace ::/0 via fd00::1 dev eth0",
        "route replace 10.0.0.0/8 dev eth0",
        "route replace 0.0.0.0/0 via 169.254.0.1 onlink dev eth0",
    ]


def test_file_systems_that_a_node_sees() -> None:
    mountinfo = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
22 21 0:20 / /proc rw shared:2 - proc proc rw
23 21 0:21 / /run rw shared:3 - tmpfs tmpfs rw
24 21 254:1 / /usr rw shared:4 - ext4 /dev/vdb rw
25 21 254:2 / /home rw shared:5 - ext4 /dev/vdc rw
26 21 0:30 / /srv/with\\040space rw - nfs4 server:/x rw
27 21 254:3 / /homestead rw - xfs /dev/vdd rw
28 23 254:4 / /run/media rw - ext4 /dev/vde rw
"""
    assert volumes(mountinfo) == ("/usr", "/srv/with space", "/homestead")
