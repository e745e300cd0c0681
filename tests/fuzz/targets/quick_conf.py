"""A file of wg-quick's: refused by name and line, or one whose plan is lines that a person could type.

What it means does not change when it is stripped and its own part is put before that again.
"""

from __future__ import annotations

import re

from agent.operations import RemoveInterface, SetLink
from agent.quick import plan
from agent.quick.conf import Parts, QuickConf, parse, split
from agent.quick.plan import DownFacts, PlanError, UpFacts
from agent.quick.steps import Step, command
from agent.wg.config import ConfigError

TOKENS = (
    *(b"[Interface]\n", b"[Peer]\n", b" = ", b"#", b"%i", b", ", b"\\", b"\n"),
    *(b"Address = ", b"DNS = ", b"MTU = ", b"Table = ", b"SaveConfig = true\n", b"FwMark = ", b"Endpoint = "),
    *(b"PreUp = ", b"PostUp = ", b"PreDown = ", b"PostDown = ", b"AllowedIPs = ", b"PublicKey = "),
    *(b"0.0.0.0/0", b"::/0", b"10.0.0.1/24", b"fd00::1", b"off\n", b"auto\n", b"0x10", b"[fd00::1]:5"),
    b"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
)
_FILE = "wg0.conf"
_REFUSAL = re.compile(rf"{re.escape(_FILE)}:\d+: [^\n]+")


def check(data: bytes) -> None:
    """One file."""
    text = data.decode("utf-8", "surrogateescape")
    refusal = ""
    try:
        parts, conf = split(text, _FILE), parse(text, _FILE)
    except ConfigError as error:
        refusal = str(error)
    if refusal:
        assert _REFUSAL.fullmatch(refusal)
        return
    again = parse(_joined(parts), _FILE)
    assert _meaning(again) == _meaning(conf)
    try:
        up = (*plan.make(conf, parts.stripped), *plan.connect(conf, UpFacts()))
    except PlanError:
        return
    _check_lines(up)
    facts = DownFacts(conf.device.fwmark or 51820, plan.prefixes(conf))
    down = (*plan.part(conf), *plan.remove(conf, facts))
    _check_lines(down)
    assert sum(isinstance(step, SetLink) for step in up) == 1
    assert down.count(RemoveInterface("wg0")) == 1


def _joined(parts: Parts) -> str:
    own = "".join(f"{entry.key} = {entry.value}\n" for entry in parts.entries)
    return f"[Interface]\n{own}{parts.stripped}"


def _meaning(conf: QuickConf) -> QuickConf:
    """Without the lines of the file that stand in it."""
    for peer in conf.device.peers:
        peer.endpoint = peer.endpoint and peer.endpoint._replace(line=0)
    conf.device.warnings.clear()
    return conf


def _check_lines(steps: tuple[Step, ...]) -> None:
    for step in steps:
        line, _ = command(step)
        assert "\n" not in line
        assert "\0" not in line
