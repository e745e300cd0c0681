"""`fleet-agent up` and `down` beside the real wg-quick: the same files, the same host with and after them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.bundle import Interface, Route
from agent.quick.conf import parse
from tests.agent.quick.corpus import GOOD, KEY, OTHER
from tests.lab.agents import linked
from tests.lab.namespaces import wait_until
from tests.lab.quick_hosts import INTERFACE, PROGRAMS, Program, QuickHost, quick_host

pytestmark = pytest.mark.lab

PLAIN = f"[Interface]\nPrivateKey = {KEY}\nAddress = 10.1.0.1/24\nListenPort = 51821\n"
PEER = f"[Peer]\nPublicKey = {OTHER}\nAllowedIPs = 10.5.0.0/16\nEndpoint = 192.0.2.2:51820\n"
FULL = f"{PLAIN}{PEER}AllowedIPs = 0.0.0.0/0, ::/0\n"


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[QuickHost]:
    with quick_host(tmp_path) as made:
        yield made


def check_side_by_side(quick: QuickHost, text: str) -> None:
    quick.write(text)
    before = quick.picture()
    quick.done("fleet-agent", "up")
    ours, our_hooks = quick.picture(), quick.told()
    quick.done("fleet-agent", "down")
    our_hooks += quick.told()
    assert quick.picture() == before
    quick.write(text)  # SaveConfig may have changed it
    quick.done("wg-quick", "up")
    theirs, their_hooks = quick.picture(), quick.told()
    quick.done("wg-quick", "down")
    assert ours == theirs
    assert our_hooks == their_hooks + quick.told()


@pytest.mark.parametrize("name", GOOD)
def test_side_by_side(quick: QuickHost, name: str) -> None:
    check_side_by_side(quick, GOOD[name])


@pytest.mark.kernel
def test_side_by_side_in_the_kernel(quick: QuickHost) -> None:
    check_side_by_side(quick, GOOD["kill_switch"])


def test_side_by_side_with_iptables(quick: QuickHost) -> None:
    quick.hide_nft()
    for program in ("iptables", "ip6tables"):  # its tables, once used, never go again
        for table in ("raw", "mangle"):
            for verb in ("-N", "-X"):
                assert quick.host.run(program, "-t", table, verb, "once").returncode == 0
    check_side_by_side(quick, GOOD["kill_switch"])


@pytest.mark.parametrize("first", PROGRAMS)
def test_what_one_brought_up_the_other_takes_down(quick: QuickHost, first: Program) -> None:
    second = PROGRAMS[1 - PROGRAMS.index(first)]
    quick.write(GOOD["kill_switch"])
    before = quick.picture(validate=False)
    quick.done(first, "up")
    quick.done(second, "down")
    assert quick.picture(validate=False) == before
    wait_until(lambda: not quick.host.run("wg", "show", "interfaces").stdout.strip(), "no device is left")


@pytest.mark.kernel
def test_a_full_tunnel_in_the_kernel(quick: QuickHost) -> None:
    check_full_tunnel(quick, "wireguard")


def test_a_full_tunnel_carries_everything_and_is_undone(quick: QuickHost) -> None:
    check_full_tunnel(quick)


def check_full_tunnel(quick: QuickHost, kind: str = "") -> None:
    far = quick.beyond
    private, other = (far.run("wg", "genkey").stdout.strip() for _ in range(2))
    public, its = (far.run("wg", "pubkey", stdin=key).stdout.strip() for key in (private, other))
    for address in ("10.200.0.1/32", "fd00:200::1/128"):
        far.run("ip", "address", "add", address, "dev", "lo")
    server = quick.folder / "far.conf"
    server.write_text(
        f"[Interface]\nPrivateKey = {other}\nListenPort = 51820\nAddress = 10.6.0.1/24, fd06::1/64\n"
        f"[Peer]\nPublicKey = {public}\nAllowedIPs = 10.6.0.2, fd06::2\n"
    )
    server.chmod(0o600)
    assert far.agent("up", str(server)).returncode == 0
    quick.ip("route", "delete", "default")
    quick.ip("-6", "route", "delete", "default")
    before = quick.picture()
    quick.write(
        f"[Interface]\nPrivateKey = {private}\nAddress = 10.6.0.2/24, fd06::2/64\n"
        f"[Peer]\nPublicKey = {its}\nAllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = {far.space.v4}:51820\n"
    )
    quick.done("fleet-agent", "up")
    assert kind in ("", quick.kind())
    wait_until(lambda: quick.host.pings("10.200.0.1"), "IPv4 through the tunnel", 20)
    wait_until(lambda: quick.host.pings("fd00:200::1"), "IPv6 through the tunnel", 20)
    assert "dev wire0" in quick.ip("route", "get", far.space.v4, "mark", "51820")
    assert f"dev {INTERFACE}" in quick.ip("route", "get", "203.0.113.1")
    assert quick.host.pings(far.space.v4)  # the network of the wire itself goes on by the wire
    quick.done("fleet-agent", "down")
    assert not quick.host.pings("10.200.0.1")
    assert quick.picture() == before
    assert quick.tunnels() == []


FAILURES = {
    "a hook": (
        PLAIN + "PreUp = hook pre\nPostUp = hook post\nPostUp = exit 7\nPostDown = hook down\n" + PEER,
        7,
    ),
    "a hook before all": (PLAIN + "PreUp = hook pre; false; hook never\n" + PEER, 1),
    "a pipe": (PLAIN + "PostUp = (exit 3) | cat\n" + FULL.partition("ListenPort = 51821\n")[2], 3),
    "an address twice": (PLAIN + "Address = 10.1.0.1/24\n" + PEER, 2),
    "a route that is there": (PLAIN + PEER.replace("10.5.0.0/16", "192.0.2.0/24, 10.5.0.0/16"), 2),
    "a route of another": (PLAIN + "PreUp = ip route add 10.5.0.0/16 dev lo\n" + PEER, 2),
    "a table without a name": (PLAIN + "Table = nosuch\n" + PEER, 255),
    "a name that nobody knows": (PLAIN + PEER.replace("192.0.2.2:", "nosuch.invalid:"), 1),
}


@pytest.mark.parametrize("name", FAILURES)
def test_an_up_that_fails_is_undone(quick: QuickHost, name: str) -> None:
    """With wg-quick's exit code, and nothing left of it but what its own hooks did."""
    text, status = FAILURES[name]
    quick.write(text)
    before = quick.picture()
    heard = []
    for program in PROGRAMS:
        ran = quick.run(program, "up")
        hooks = quick.told()
        assert ran.returncode == status, ran.stderr
        quick.host.run("ip", "route", "delete", "10.5.0.0/16", "dev", "lo")
        assert quick.picture(validate=False) == before[:-1], ran.stderr
        heard.append(hooks)
    assert heard[0] == heard[1]
    assert not quick.host.run("wg", "show", "interfaces").stdout.strip()


def test_an_up_that_is_interrupted_is_undone(quick: QuickHost) -> None:
    """The hook that runs comes to its end, as in wg-quick."""
    quick.write(
        f"{PLAIN}PostUp = hook waiting; sleep 1.5\nPostUp = hook never\n{PEER}AllowedIPs = 0.0.0.0/0\n"
    )
    check_interrupted(quick, signal.SIGTERM, lambda _: "hook waiting" in quick.log.read_text())
    assert quick.told() == ["hook waiting"]


def test_who_waits_for_a_name_need_not_wait_longer(quick: QuickHost) -> None:
    quick.write(f"{PLAIN}PostUp = hook never\n{PEER.replace('192.0.2.2:', 'nosuch.invalid:')}")
    check_interrupted(quick, signal.SIGINT, lambda said: "trying again in 1.20 seconds" in said, "infinity")
    assert quick.told() == []


def check_interrupted(
    quick: QuickHost, number: signal.Signals, ready: Callable[[str], bool], retries: str = "0"
) -> None:
    before = quick.picture()
    said = quick.folder / "said"
    with said.open("w") as stderr:
        command = quick.command("fleet-agent", "up", retries=retries)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr)
    wait_until(lambda: ready(said.read_text()), "the step to interrupt", 20)
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert f"fleet-agent: interrupted by {number.name}\n" in said.read_text()
    assert quick.picture() == before


def test_what_is_told_and_how_it_ends(quick: QuickHost) -> None:
    quick.write(f"{PLAIN}PostUp = hook up %i; test $INTERFACE = %i; test -e $CONFIG_FILE\n{PEER}")
    quick.file.chmod(0o644)
    said = quick.done("fleet-agent", "up")
    assert "[#] wg setconf wg0 /dev/stdin\n[#] ip -4 address add 10.1.0.1/24 dev wg0\n" in said
    assert "[#] ip link set mtu 1412 up dev wg0\n[#] ip -4 route add 10.5.0.0/16 dev wg0\n" in said
    assert "world accessible" not in said  # its folder is not
    again = quick.run("fleet-agent", "up")
    assert (again.returncode, again.stderr) == (1, "fleet-agent: `wg0' already exists\n")
    quick.done("fleet-agent", "down")
    for verb in ("down", "save"):
        ran = quick.run("fleet-agent", verb)
        assert (ran.returncode, ran.stderr) == (1, "fleet-agent: `wg0' is not a WireGuard interface\n")
    quick.folder.chmod(0o755)
    quick.write("[Interface]\nAddress = 10.0.0.1/24\nAddress = 10.0.0.500\n")
    ran = quick.run("fleet-agent", "up")
    warning = f"Warning: `{quick.file}' is world accessible\n"
    assert (ran.returncode, ran.stderr) == (
        1,
        f"{warning}fleet-agent: {quick.file}:3: Address: expected IP or IP/LENGTH\n",
    )


def test_two_full_tunnels_share_what_both_need(quick: QuickHost) -> None:
    """The second to go takes the last of it away; another's rules stay all the time."""
    other = quick.folder / "wg1.conf"
    other.write_text(FULL.replace("51821", "51822").replace("10.1.0.1", "10.2.0.1").replace(", ::/0", ""))
    quick.write(FULL)
    before = quick.picture()
    quick.done("fleet-agent", "up")
    alone = quick.picture()
    assert quick.host.agent("up", str(other)).returncode == 2  # 10.5.0.0/16 is the first one's
    assert quick.picture() == alone
    other.write_text(other.read_text().replace("10.5.0.0/16", "10.7.0.0/16"))
    assert quick.host.agent("up", str(other)).returncode == 0
    assert "fwmark 0xca6d lookup 51821" in quick.ip("rule")
    quick.done("fleet-agent", "down")
    assert "fwmark 0xca6d lookup 51821" in quick.ip("rule")
    assert quick.ip("rule").count("suppress_prefixlength 0") == 1
    assert quick.host.run("sysctl", "-n", "net.ipv4.conf.all.src_valid_mark").stdout == "1\n"
    assert quick.host.agent("down", str(other)).returncode == 0
    assert quick.picture() == before


def test_save_config_keeps_what_changed(quick: QuickHost) -> None:
    """As wg-quick writes it, but that a domain of DNS stays."""
    text = GOOD["saved"].replace("home.arpa", "10.10.0.54")
    saved = []
    for program in PROGRAMS:
        quick.write(text)
        quick.file.chmod(0o644)
        quick.done(program, "up")
        change = ("peer", OTHER, "persistent-keepalive", "25", "allowed-ips", "10.10.0.2/32,10.12.0.0/16")
        assert quick.host.run("wg", "set", INTERFACE, *change).returncode == 0
        quick.ip("address", "add", "10.10.9.1/24", "dev", INTERFACE)
        quick.done(program, "down")
        assert quick.file.stat().st_mode & 0o777 == 0o600
        saved.append([line for line in quick.file.read_text().splitlines() if "fe80:" not in line])
    theirs, ours = saved
    assert ours == theirs
    conf = parse(quick.file.read_text(), str(quick.file))
    assert conf.addresses == ("10.10.0.1/24", "10.10.1.1/24", "10.10.9.1/24")
    assert conf.dns_servers == ("10.10.0.53",)
    assert conf.device.peers[0].persistent_keepalive == 25


def test_save_while_it_runs(quick: QuickHost) -> None:
    link = quick.folder / "links" / f"{INTERFACE}.conf"
    link.parent.mkdir()
    link.symlink_to(quick.file)
    quick.write(f"{PLAIN}{PEER}")
    assert quick.run("fleet-agent", "up", str(link)).returncode == 0
    quick.host.run("wg", "set", INTERFACE, "fwmark", "7")
    saved = quick.run("fleet-agent", "save", str(link))
    assert (saved.returncode, saved.stderr) == (0, "[#] wg showconf wg0\n")
    assert link.is_symlink()
    assert "FwMark = 0x7\n" in quick.file.read_text()
    assert quick.run("fleet-agent", "down", str(link)).returncode == 0


def test_a_tunnel_lives_on_and_ends_with_down(quick: QuickHost) -> None:
    quick.write(FULL)
    quick.done("fleet-agent", "up")  # its streams are closed, or this would wait for ever
    if quick.kind() == "tun":
        (process,) = quick.tunnels()
        assert Path(f"/proc/{process}/fd/1").readlink() == Path("/dev/null")
    assert quick.host.run("wg", "show", INTERFACE, "fwmark").stdout == "0xca6c\n"
    quick.done("fleet-agent", "down")
    assert quick.tunnels() == []
    assert quick.host.run("ls", "/run/wireguard").stdout == ""


def test_beside_a_fleet(quick: QuickHost) -> None:
    """Its agent leaves the file's interface alone, whatever happens to it, and we leave the fleet's alone."""
    quick.host.start()
    bundle, secrets = linked(quick.host, quick.beyond)
    assert quick.host.apply(bundle, secrets)["ok"]
    quick.write(FULL.replace("51821", "51822"))
    alone = quick.picture()
    quick.done("fleet-agent", "up")
    beside = quick.picture()
    assert quick.host.agent("supervise", "--restart").returncode == 0
    bundle, secrets = linked(quick.host, quick.beyond, 2, keepalive=25)
    assert quick.host.apply(bundle, secrets)["ok"]
    assert quick.picture() == beside
    theirs = quick.folder / f"{quick.host.interface}.conf"
    theirs.write_text(PLAIN)
    for verb in ("up", "down", "save"):
        ran = quick.run("fleet-agent", verb, str(theirs))
        assert ran.returncode == 1
        assert f'{quick.host.interface} belongs to fleet "acme" on this host' in ran.stderr
    quick.done("fleet-agent", "down")
    assert quick.picture() == alone
    assert quick.host.report().problems == ()


def test_what_a_fleets_full_tunnel_needs_too_goes_with_the_last(quick: QuickHost) -> None:
    """src_valid_mark: in whatever order the two come and go."""
    plain, secrets = linked(quick.host, quick.beyond)
    (inner,) = plain.interfaces
    (peer,) = inner.peers
    full = replace(
        inner,
        fwmark=8311,
        peers=(replace(peer, allowed_ips=(*peer.allowed_ips, "0.0.0.0/0")),),
        routes=(*inner.routes, Route("0.0.0.0/0", quick.host.v4, 8311)),
    )
    quick.host.start()
    quick.write(FULL.replace("51821", "51822"))

    def apply(revision: int, tunnel: Interface) -> None:
        assert quick.host.apply(replace(plain, revision=revision, interfaces=(tunnel,)), secrets)["ok"]
        report = quick.host.report()
        assert (report.pending, report.problems) == ((), ())

    def validates() -> bool:
        return quick.host.run("sysctl", "-n", "net.ipv4.conf.all.src_valid_mark").stdout == "1\n"

    apply(1, full)
    quick.done("fleet-agent", "up")
    apply(2, inner)
    assert validates()
    quick.done("fleet-agent", "down")
    assert not validates()
    quick.done("fleet-agent", "up")
    apply(3, full)
    quick.done("fleet-agent", "down")
    assert validates()
    apply(4, inner)
    assert not validates()
