"""Configuration files in wg-quick's format.

Job: `split` parts what is wg-quick's own from what is wg's, and cares for no value; `parse` is what a file
means. Pure. Refuses to know what becomes of it.

Source: wg-quick(8), and measured on wireguard-tools 1.0.20210914: its own keys count in any section that
begins with `[Interface]`, everything else is wg's, letter by letter; a comment ends a hook too; a line
without `=` is a key that is its own value. Refused here, though wg-quick takes it: such lines; addresses and
servers that are none, which it hands to `ip` and `resolvconf` as they are; wildcards, which it replaces by
the names of files; auto and off in other than small letters, which it takes for a table's name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Optional

from agent.bundle import check_interface_name
from agent.wg import config
from agent.wg.config import Config, ConfigError, Entry

AUTO, OFF = "auto", "off"

_SUFFIX = ".conf"
_SPACE = " \t\n\v\f\r"
_SEPARATORS = re.compile("[ \t,]+")
_SERVER = re.compile(r"[0-9.]+|.*:.*")
_DOMAIN = re.compile(r"[^\x00-\x20\x7f*?\[\\]+")
_TABLE = re.compile(r"[A-Za-z0-9_.-]+")
_LENGTH = re.compile("0|[1-9][0-9]{0,2}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}|0[xX][0-9a-fA-F]{1,8}")
_MOST_TABLE = 2**32 - 1
_MOST_MTU = 2**31 - 1
_BYTE_ORDER_MARK = "\ufeff"

_SECTION = "[interface]"
_HOOKS = ("preup", "postup", "predown", "postdown")
_KEYS = frozenset({"address", "dns", "mtu", "table", "saveconfig", *_HOOKS})


@dataclass(frozen=True)
class Parts:
    """A file parted: `stripped` is what `strip` prints, without its last line end.

    `numbered` is the same part for `agent.wg.config`, each line where it stood. `entries` are wg-quick's own,
    their keys in small letters, in their order; `save` is its SaveConfig.
    """

    stripped: str = field(repr=False)
    numbered: str = field(repr=False)
    entries: tuple[Entry, ...]
    save: bool

    def values(self, key: str) -> tuple[str, ...]:
        return tuple(entry.value for entry in self.entries if entry.key == key)

    def last(self, key: str) -> str:
        """The one that counts where only one can; empty where there is none."""
        return (self.values(key) or ("",))[-1]


@dataclass(frozen=True)
class QuickConf:
    """What a file means. `mtu` in bytes; `table` is `auto`, `off`, or a routing table's number or name.

    Addresses are as the file has them, IP or IP/LENGTH. In hooks, `%i` is replaced.
    """

    interface: str
    device: Config
    addresses: tuple[str, ...] = ()
    dns_servers: tuple[str, ...] = ()
    dns_domains: tuple[str, ...] = ()
    mtu: Optional[int] = None
    table: str = AUTO
    pre_up: tuple[str, ...] = ()
    post_up: tuple[str, ...] = ()
    pre_down: tuple[str, ...] = ()
    post_down: tuple[str, ...] = ()
    save: bool = False


def interface_name(file: str) -> str:
    """The interface of a file, by the last part of its path. Raises ConfigError."""
    name = file.rpartition("/")[2]
    try:
        check_interface_name(name[: -len(_SUFFIX)])
    except ValueError:
        name = ""
    if not name.endswith(_SUFFIX):
        raise ConfigError(f"{file}: expected NAME.conf, NAME of 1 to 15 letters, digits and _=+.-")
    return name[: -len(_SUFFIX)]


def split(content: str, file: str) -> Parts:
    """Parts a file. Raises ConfigError for a SaveConfig that is neither true nor false, and nothing else."""
    stripped: list[str] = []
    numbered: list[str] = []
    entries: list[Entry] = []
    ours = save = False
    for number, raw in enumerate(_lines(content), 1):
        line = raw.strip(" \t")
        said = line.partition("#")[0]
        key, equals, value = said.partition("=")
        key = key.strip(_SPACE).lower()
        if key.startswith("["):
            ours = key == _SECTION
        if not ours or key not in _KEYS:
            stripped.append(line)
            numbered.append(line)
            continue
        entry = Entry(key, (value if equals else said).strip(_SPACE), number)
        if key == "saveconfig":
            save = _is_true(entry, file)
        entries.append(entry)
        numbered.append("")
    return Parts("".join(f"{line}\n" for line in stripped), "\n".join(numbered), tuple(entries), save)


def parse(content: str, file: str) -> QuickConf:
    """What a file means. Raises ConfigError."""
    interface = interface_name(file)
    if content.startswith(_BYTE_ORDER_MARK):
        raise ConfigError(f"{file}:1: begins with a byte order mark: save it as UTF-8 without one")
    parts = split(content, file)
    lines = _lines(content)
    for entry in parts.entries:
        if "=" not in lines[entry.line - 1].partition("#")[0]:
            raise ConfigError(f"{file}:{entry.line}: expected KEY = VALUE")
    dns = tuple(_dns(parts, file))
    hooks = {key: tuple(value.replace("%i", interface) for value in parts.values(key)) for key in _HOOKS}
    return QuickConf(
        interface,
        config.parse(parts.numbered, file),
        addresses=tuple(_addresses(parts, file)),
        dns_servers=tuple(word for word in dns if is_server(word)),
        dns_domains=tuple(word for word in dns if not is_server(word)),
        mtu=_mtu(parts, file),
        table=_table(parts, file),
        pre_up=hooks["preup"],
        post_up=hooks["postup"],
        pre_down=hooks["predown"],
        post_down=hooks["postdown"],
        save=parts.save,
    )


def words(value: str) -> list[str]:
    """A list as Address and DNS have it, separated by commas or blanks."""
    return [word for word in _SEPARATORS.split(value) if word]


def is_server(word: str) -> bool:
    """Whether a word of DNS is meant as a server; the others are domains to search in."""
    return _SERVER.fullmatch(word) is not None


def _lines(content: str) -> list[str]:
    """As bash reads them: without null bytes, an unfinished last one too."""
    lines = content.replace("\0", "").split("\n")
    return lines if lines[-1].strip(" \t") else lines[:-1]


def _is_true(entry: Entry, file: str) -> bool:
    word = entry.value.lower()
    if word not in ("true", "false"):
        raise ConfigError(f"{file}:{entry.line}: SaveConfig: expected true or false")
    return word == "true"


def _addresses(parts: Parts, file: str) -> Iterator[str]:
    for entry in parts.entries:
        for word in words(entry.value) if entry.key == "address" else ():
            if not _is_address(word):
                raise ConfigError(f"{file}:{entry.line}: Address: expected IP or IP/LENGTH")
            yield word


def _is_address(word: str) -> bool:
    ip, slash, length = word.partition("/")
    try:
        width = ipaddress.ip_address(ip).max_prefixlen
    except ValueError:
        return False
    return "%" not in ip and (not slash or (_LENGTH.fullmatch(length) is not None and int(length) <= width))


def _dns(parts: Parts, file: str) -> Iterator[str]:
    for entry in parts.entries:
        for word in words(entry.value) if entry.key == "dns" else ():
            if is_server(word):
                try:
                    ipaddress.ip_address(word.partition("%")[0])
                except ValueError:
                    raise ConfigError(f"{file}:{entry.line}: DNS: expected addresses and domains") from None
            elif not _DOMAIN.fullmatch(word):
                raise ConfigError(f"{file}:{entry.line}: DNS: no wildcards, no control characters")
            yield word


def _mtu(parts: Parts, file: str) -> Optional[int]:
    value = parts.last("mtu")
    if not value:
        return None
    if not _NUMBER.fullmatch(value) or int(value, 0) > _MOST_MTU:
        raise ConfigError(f"{file}:{_line(parts, 'mtu')}: MTU: expected a number of bytes")
    return int(value, 0)


def _table(parts: Parts, file: str) -> str:
    value = parts.last("table")
    if not value:
        return AUTO
    numeric = value[0].isdigit()
    if value.lower() in (AUTO, OFF) and value not in (AUTO, OFF):
        raise ConfigError(f"{file}:{_line(parts, 'table')}: Table: write {value.lower()} in small letters")
    if numeric and (not _NUMBER.fullmatch(value) or int(value, 0) > _MOST_TABLE):
        raise ConfigError(f"{file}:{_line(parts, 'table')}: Table: expected a number of 0 to {_MOST_TABLE}")
    if not _TABLE.fullmatch(value):
        raise ConfigError(f"{file}:{_line(parts, 'table')}: Table: expected auto, off, a number or a name")
    return value


def _line(parts: Parts, key: str) -> int:
    return [entry.line for entry in parts.entries if entry.key == key][-1]
