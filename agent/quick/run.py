"""`fleet-agent up`, `down`, `save` and `strip`: one interface from one file, as wg-quick(8) does it.

Job: find the file, refuse what is not for us, have the steps carried out in their order, and undo an `up`
that failed. Exit codes are wg-quick's: 0, 1 for what is refused, else the status of the step that failed.
Called by agent.cli.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Callable, NamedTuple, Optional

from agent.quick import plan
from agent.quick.conf import Parts, QuickConf, parse, split
from agent.quick.plan import PlanError
from agent.quick.steps import (
    AddGuard,
    Configure,
    RemoveGuardRules,
    RemoveGuardTables,
    SetMark,
    Step,
    StepError,
    UnsetDns,
)
from agent.stderr import say, write
from agent.wg.config import ConfigError

if TYPE_CHECKING:
    from agent.quick.hands import Hands

USAGE = "usage: fleet-agent up|down|save|strip FILE.conf|IFACE\n"

_FOLDER = Path("/etc/wireguard")
_NAME = re.compile(r"[a-zA-Z0-9_=+.-]{1,15}")
_HELP = frozenset({"-h", "--help", "help"})
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BY_SIGNAL = 128  # what a shell adds to the number of the signal
_MAY_FAIL = (UnsetDns, RemoveGuardTables, RemoveGuardRules)
_OTHERS = 0o007


class RefusedError(Exception):
    """One line: what is wrong, and what to do."""


class InterruptedUpError(Exception):
    """A signal asked for an end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.status = _BY_SIGNAL + number


class _File(NamedTuple):
    """`said` is its path as messages name it, `real` without symbolic links."""

    said: str
    real: Path
    text: str


@dataclass
class _Signals:
    """Those that came. They wait for the step to end, unless it is one that can be left at any time."""

    at_once: bool = False
    heard: int = 0

    def take(self, number: int, _frame: Optional[FrameType]) -> None:
        self.heard = number
        if self.at_once:
            self.at_once = False
            raise InterruptedUpError(number)


def run(command: str, words: list[str]) -> int:
    """Runs one of the four commands and returns the exit code."""
    if len(words) == 1 and words[0] in _HELP:
        sys.stdout.write(USAGE)
        return 0
    if len(words) != 1:
        write(USAGE)
        return 1
    try:
        return _COMMANDS[command](words[0])
    except (RefusedError, ConfigError) as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{words[0]}: {error.strerror or error}")
        return 1


def _up(word: str) -> int:
    file, conf, parts, hands = _opened(word)
    if hands.link() is not None:
        raise RefusedError(f"`{conf.interface}' already exists")
    if (conf.pre_up or conf.post_up or conf.pre_down or conf.post_down) and hands.lacks_shell():
        raise RefusedError(f"{file.said}: its hooks need bash: install it, or take PreUp and the like out")
    for warning in conf.device.warnings:
        say(f"warning: {warning}")
    done: list[Step] = []
    with _signals() as signals:
        try:
            _carry_out(hands, plan.make(conf, parts.stripped), done, signals)
            facts = hands.facts.up(hands.device())
            _carry_out(hands, plan.connect(conf, facts), done, signals)
        except (PlanError, InterruptedUpError, OSError, StepError) as error:
            say(str(error))
            _undo(hands, conf, done)
            return int(getattr(error, "status", 1))
    return 0


def _down(word: str) -> int:
    _, conf, _, hands = _opened(word)
    _check_wireguard(hands, conf)
    with _signals() as signals:
        try:
            _carry_out(hands, plan.part(conf), [], signals)
            device = hands.device()
            prefixes = (prefix for peer in device.peers for prefix in peer.allowed_ips)
            for step in plan.remove(conf, hands.facts.down(device.fwmark, prefixes)):
                try:
                    hands.carry_out(step)
                except StepError:
                    if not isinstance(step, _MAY_FAIL):
                        raise
        except (InterruptedUpError, StepError) as error:
            say(str(error))
            return error.status
    return 0


def _save(word: str) -> int:
    _, conf, _, hands = _opened(word)
    _check_wireguard(hands, conf)
    write(f"[#] wg showconf {conf.interface}\n")
    hands.save()
    return 0


def _strip(word: str) -> int:
    file = _find(word)
    stripped = f"{split(file.text, file.said).stripped}\n"
    sys.stdout.buffer.write(stripped.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
    return 0


_COMMANDS: dict[str, Callable[[str], int]] = {"up": _up, "down": _down, "save": _save, "strip": _strip}


def _find(word: str) -> _File:
    """The file that a word means; a name is one of /etc/wireguard. Raises RefusedError, OSError."""
    said = str(_FOLDER / f"{word}.conf") if _NAME.fullmatch(word) else word
    real = Path(os.path.realpath(said))
    if not real.exists():
        beside = f": for the file here, write ./{word}" if said != word and Path(word).is_file() else ""
        raise RefusedError(f"`{said}' does not exist{beside}")
    text = real.read_bytes().decode("utf-8", "surrogateescape")
    if real.stat().st_mode & real.parent.stat().st_mode & _OTHERS:
        write(f"Warning: `{real}' is world accessible\n")
    return _File(said, real, text)


def _opened(word: str) -> tuple[_File, QuickConf, Parts, Hands]:
    """The file that is meant, what it means, its parts, and who carries it out."""
    file = _find(word)
    conf, parts = parse(file.text, file.said), split(file.text, file.said)
    return file, conf, parts, _hands(conf, parts, file)


def _hands(conf: QuickConf, parts: Parts, file: _File) -> Hands:
    """Raises RefusedError where it is not for us to touch the interface."""
    if os.geteuid():
        raise RefusedError("run this as root")
    from agent.quick.hands import Hands
    from agent.resident.claims import claimant
    from agent.resident.store import StoreError

    try:
        fleet = claimant(conf.interface)
    except StoreError as error:
        raise RefusedError(f"nobody knows whether {conf.interface} is a fleet's: {error}") from error
    if fleet is not None:
        raise RefusedError(
            f'{conf.interface} belongs to fleet "{fleet}" on this host, whose agent keeps it as it is: give '
            f"{file.said} another name, or take the host out of that fleet"
        )
    return Hands(conf, parts, file.said, file.real, lambda line: write(f"{line}\n"))


def _check_wireguard(hands: Hands, conf: QuickConf) -> None:
    if not hands.is_wireguard():
        raise RefusedError(f"`{conf.interface}' is not a WireGuard interface")


def _carry_out(hands: Hands, steps: Iterable[Step], done: list[Step], signals: _Signals) -> None:
    """`done` gets the steps that have an effect by then."""
    for step in steps:
        if signals.heard:
            raise InterruptedUpError(signals.heard)
        if isinstance(step, AddGuard):
            done.append(step)  # iptables-restore leaves what it had done when it failed
        signals.at_once = isinstance(step, Configure)  # names are asked for, for minutes where nobody answers
        try:
            hands.carry_out(step)
        finally:
            signals.at_once = False
        if not isinstance(step, AddGuard):
            done.append(step)
    if signals.heard:
        raise InterruptedUpError(signals.heard)


def _undo(hands: Hands, conf: QuickConf, done: list[Step]) -> None:
    """As far as possible: what cannot be undone is told."""
    mark = next((step.mark for step in done if isinstance(step, SetMark)), conf.device.fwmark or 0)
    try:
        steps = plan.abandon(conf, done, hands.facts.down(mark, plan.prefixes(conf)))
    except OSError as error:
        say(f"{conf.interface} cannot be undone: {error.strerror or error}")
        return
    for step in steps:
        try:
            hands.carry_out(step)
        except StepError as error:
            say(str(error))


@contextmanager
def _signals() -> Iterator[_Signals]:
    signals = _Signals()
    former = {
        number: signal.signal(number, signals.take)
        for number in _SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield signals
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
