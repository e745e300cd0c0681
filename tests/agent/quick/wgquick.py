"""The real wg-quick between fake programs, which write down how they are called and answer from a table.

Used by the tests that compare with it. Nothing of this machine's network is looked at or touched: wg-quick
finds its programs beside itself first, so a copy of it in a folder of fakes finds these.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

WG_QUICK = "/usr/bin/wg-quick"

_SILENT = ("ip", "wg", "nft", "sysctl", "iptables", "ip6tables", "iptables-save", "ip6tables-save")
_TOOLS = ("bash", "cat", "grep", "mv", "readlink", "sed", "sort", "stat", "sync", "tr")
_READ_INPUT = ("resolvconf", "iptables-restore", "ip6tables-restore")
_HOOK = "hook"
_UNIT, _RECORD, _BODY = "\x1f", "\x1e", "\x1d"

# An answer is a file named by the call's words, beside it one of how the call ends. A mark is remembered,
# a rule deleted.
_FAKE = """\
#!/bin/sh
name=${0##*/}
call=$name
for word; do
    case $word in /dev/fd/*) call="$call FD" ;; *) call="$call $word" ;; esac
done
{
    printf '%s' "$name"
    for word; do printf '\\037%s' "$word"; done
    for word; do case $word in /dev/fd/*) printf '\\035'; cat "$word" ;; esac; done
    @INPUT@
    printf '\\036'
} >> '@FOLDER@/log'
[ "$1,$3,$name" != set,fwmark,wg ] || printf '0x%x\\n' "$4" > "@FOLDER@/answers/wg_show_$2_fwmark"
case "$call" in "ip -"?" rule delete "*)
    rules="@FOLDER@/answers/ip_$1_rule_show"
    case $5 in main) gone="lookup $5 suppress_prefixlength 0" ;; *) gone="lookup $5\\$" ;; esac
    number=$(grep -n -m 1 "$gone" "$rules") && sed -i "${number%%:*}d" "$rules" ;;
esac
answer="@FOLDER@/answers/$(printf '%s' "$call" | tr '/ ' '%_')"
[ ! -e "$answer" ] || cat "$answer"
[ ! -e "$answer.status" ] || exit "$(cat "$answer.status")"
exit 0
"""


class Call(NamedTuple):
    """A call of a fake program: its words, and what it was given to read."""

    words: tuple[str, ...]
    body: str = ""


@dataclass
class Ran:
    """How wg-quick ended, what it said, and what it called."""

    status: int
    stdout: str
    stderr: str
    calls: list[Call]


@dataclass
class Fakes:
    """A folder with wg-quick and its programs; `without` names those that are not there."""

    folder: Path
    without: tuple[str, ...] = ()
    answers: dict[str, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "answers").mkdir(parents=True, exist_ok=True)
        shutil.copy(WG_QUICK, self.folder / "wg-quick")
        for name in _TOOLS:
            (self.folder / name).symlink_to(str(shutil.which(name)))
        for name in (*_SILENT, *_READ_INPUT, _HOOK):
            if name not in self.without:
                source = "printf '\\035'; cat" if name in _READ_INPUT else ""
                text = _FAKE.replace("@INPUT@", source).replace("@FOLDER@", str(self.folder))
                (self.folder / name).write_text(text)
                (self.folder / name).chmod(0o755)

    def answer(self, call: str, stdout: str = "", status: int = 0) -> None:
        """What a call, given as its words, prints, and how it ends; all others print nothing and end well."""
        place = self.folder / "answers" / call.replace("/", "%").replace(" ", "_")
        place.write_text(stdout)
        if status:
            place.with_name(place.name + ".status").write_text(str(status))

    def run(self, *words: str) -> Ran:
        log = self.folder / "log"
        log.write_bytes(b"")
        ended = subprocess.run(
            [str(self.folder / "bash"), str(self.folder / "wg-quick"), *words],
            capture_output=True,
            cwd=self.folder,
            env={"PATH": str(self.folder)},
            timeout=60,
            check=False,
        )
        return Ran(
            ended.returncode, _text(ended.stdout), _text(ended.stderr), _calls(_text(log.read_bytes()))
        )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _calls(log: str) -> list[Call]:
    found = []
    for record in log.split(_RECORD)[:-1]:
        words, _, body = record.partition(_BODY)
        found.append(Call(tuple(words.split(_UNIT)), body))
    return found
