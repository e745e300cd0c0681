"""What wg-quick is told about a host, the same as facts for plan, and what it did as something to compare."""

from __future__ import annotations

import ipaddress
import random
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Union

from agent.quick.conf import QuickConf
from agent.quick.guard import Tool
from agent.quick.plan import DownFacts, Rules, UpFacts, Way
from agent.quick.steps import AddGuard, AddMainRule, AddTunnelRule, RunHook, SetMark, Step, command
from tests.agent.quick.corpus import KEY, OTHER
from tests.agent.quick.wgquick import Fakes, Ran

FILE = "wg0.conf"
QUERY = re.compile(
    r"wg show |ip (link|route) (show|get)|ip -[46] (route|rule) show|ip -o |ip -all |nft list|ip6?tables-save"
    r"|resolvconf -l|hook"
)


@dataclass
class World:
    """What wg-quick is told when it asks."""

    ways: dict[str, Way] = field(default_factory=dict)
    default: Way = field(default_factory=Way)
    tables: frozenset[int] = frozenset()
    tool: Tool = "nft"
    others: bool = False  # whether there are rules and tables of others

    def facts(self, conf: QuickConf) -> UpFacts:
        ends = [str(peer.endpoint.host) for peer in conf.device.peers if peer.endpoint is not None]
        return UpFacts(tuple(self.ways.get(end, Way()) for end in ends), self.default, self.tables, self.tool)


@contextmanager
def real(text: str, world: World) -> Iterator[tuple[Fakes, str]]:
    """A place where wg-quick can run, and the path of the file there."""
    with tempfile.TemporaryDirectory() as folder:
        fakes = Fakes(Path(folder), without=("nft",) if world.tool == "iptables" else ())
        path = fakes.folder / FILE
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        path.chmod(0o600)
        yield fakes, str(path)


def tell(fakes: Fakes, conf: QuickConf, world: World) -> None:
    """Answers as a host would give them where `up` goes on."""
    fakes.answer("ip link show dev wg0", status=1)
    fakes.answer("wg show interfaces", "wg0\n")
    lines = []
    for peer in conf.device.peers:
        lines.append(f"{OTHER}\t{peer.endpoint or '(none)'}\n")
    fakes.answer("wg show wg0 endpoints", "".join(lines))
    for number, (end, way) in enumerate([*world.ways.items(), ("", world.default)]):
        link = f"eth{number}"
        mtu = f" mtu {way.route_mtu}" if way.route_mtu else ""
        said = f"{end or 'default'} via 192.0.2.254 dev {link}{mtu} src 192.0.2.1 uid 0\n"
        fakes.answer(f"ip route get {end}" if end else "ip route show default", said if way.mtu else "", 0)
        if way.link_mtu:
            fakes.answer(f"ip link show dev {link}", f"2: {link}: <UP> mtu {way.link_mtu} qdisc\n")
    allowed = list(device_prefixes(conf))
    random.Random(len(allowed)).shuffle(allowed)
    fakes.answer("wg show wg0 allowed-ips", f"{OTHER}\t{' '.join(allowed) or '(none)'}\n{KEY}\t(none)\n")
    fakes.answer("wg show wg0 fwmark", f"{hex(conf.device.fwmark)}\n" if conf.device.fwmark else "off\n")
    for family in (4, 6):
        own = [ipaddress.ip_interface(word) for word in conf.addresses]
        own = [address for address in own if address.version == family]
        word = "inet" if family == 4 else "inet6"
        fakes.answer(
            f"ip -o -{family} addr show dev wg0",
            "".join(f"9: wg0    {word} {address} scope global wg0\\\n" for address in own),
        )
        for prefix in allowed:
            covered = [str(address.network) for address in own if is_within(prefix, address)]
            fakes.answer(f"ip -{family} route show dev wg0 match {prefix}", "\n".join(covered))
        for table in world.tables:
            if table % 2 == family // 6:
                fakes.answer(f"ip -{family} route show table {table}", "192.0.2.0/24 dev eth0\n")


def is_within(prefix: str, address: Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]) -> bool:
    """Whether the kernel routes `prefix` because of the address; not for an IPv4 host or 0.0.0.0/8."""
    network, wanted = address.network, ipaddress.ip_network(prefix)
    if network.version == 4 and (network.prefixlen == 32 or str(network).startswith("0.")):
        return False
    return network.version == wanted.version and (
        int(network.network_address) <= int(wanted.network_address)
        and int(network.broadcast_address) >= int(wanted.broadcast_address)
    )


def device_prefixes(conf: QuickConf) -> dict[str, None]:
    """What the device would list."""
    found: dict[str, None] = {}
    for peer in conf.device.peers:
        for word in peer.allowed_ips:
            network = ipaddress.ip_network(word, strict=False)
            mapped = network.network_address.ipv4_mapped if network.version == 6 else None
            found[f"::ffff:{mapped}/{network.prefixlen}" if mapped else str(network)] = None
    return found


def changing(ran: Ran) -> tuple[list[str], list[tuple[str, str]]]:
    """What wg-quick says that it does, and what it calls, without questions and hooks."""
    said = [line[4:] for line in ran.stderr.split("\n") if line.startswith("[#] ")]
    calls = [(" ".join(call.words), call.body) for call in ran.calls]
    made = [(plain(line), body) for line, body in calls if not QUERY.match(line)]
    return [plain(line) for line in said], made


def plain(line: str) -> str:
    return re.sub(r"/dev/fd/\d+", "/dev/stdin", line)


def planned(steps: Sequence[Step]) -> tuple[list[str], list[tuple[str, str]]]:
    commands = [command(step) for step in steps]
    made = [(line, reads) for step, (line, reads) in zip(steps, commands) if not isinstance(step, RunHook)]
    return [line for line, _ in commands], made


def after(conf: QuickConf, done: Sequence[Step], others: bool) -> DownFacts:
    """What there is to undo when `done` was done, and beside it what others did."""
    marks = [step.mark for step in done if isinstance(step, SetMark)]
    counts = {
        family: (
            sum(isinstance(step, AddTunnelRule) and step.family == family for step in done),
            sum(isinstance(step, AddMainRule) and step.family == family for step in done),
        )
        for family in (4, 6)
    }
    guards = [step for step in done if isinstance(step, AddGuard)]
    saved = {4: "", 6: ""}
    for step in guards:
        if step.tool == "iptables":
            text = command(step).reads.replace("-I ", "-A ")
            saved[step.family] = text.replace("*mangle", ":PREROUTING ACCEPT [0:0]\n*mangle")
    tables = [f"{'ip' if step.family == 4 else 'ip6'} wg-quick-wg0" for step in guards if step.tool == "nft"]
    if others:
        tables += ["inet filter", "ip wg-quick-wg01", "ip wg-quick-wg", "ip6 xwg-quick-wg0"]
        theirs = '-A INPUT -j X\n-A INPUT -m comment --comment "wg-quick(8) rule for wg01"\n'
        strange = f"*filter\n:INPUT DROP [0:0]\n{theirs}COMMIT\n"
        saved = {family: text + strange for family, text in saved.items()}
    return DownFacts(
        mark=conf.device.fwmark or (marks[0] if marks else 0),
        prefixes=tuple(device_prefixes(conf)),
        rules4=Rules(*counts[4]),
        rules6=Rules(*counts[6]),
        tables=tuple(tables),
        saved4=saved[4],
        saved6=saved[6],
    )


def tell_down(fakes: Fakes, facts: DownFacts) -> None:
    for family, rules in ((4, facts.rules4), (6, facts.rules6)):
        lines = ["0:\tfrom all lookup local\n"]
        lines += ["32764:\tfrom all lookup main suppress_prefixlength 0\n"] * rules.main
        lines += [f"32765:\tnot from all fwmark {hex(facts.mark)} lookup {facts.mark}\n"] * rules.tunnel
        fakes.answer(f"ip -{family} rule show", "".join([*lines, "32766:\tfrom all lookup main\n"]))
    fakes.answer("nft list tables", "".join(f"table {table}\n" for table in facts.tables))
    fakes.answer("iptables-save", facts.saved4)
    fakes.answer("ip6tables-save", facts.saved6)
    fakes.answer("wg show wg0 fwmark", f"{hex(facts.mark)}\n" if facts.mark else "off\n")
