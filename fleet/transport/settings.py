"""How to log in to a host: Ansible's variables, then ~/.ssh/config, then OpenSSH's defaults.

Job: one `Settings` a host or jump host. The variables become the first block of the configuration, so
that "the first value counts" gives them precedence, in tokens (`%p`, `%r`) too. Refuses to know how a
connection is made. Called by `ssh`.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import paramiko

from fleet.inventory.model import Connection

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
DEFAULT_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_MAX_INCLUDES = 16


class SettingsError(ValueError):
    """A configuration that cannot be followed, as a sentence."""


@dataclass(frozen=True)
class Settings:
    """Everything that connecting needs to know.

    `required_key` was asked for by the inventory and must exist; `keys` are tried where they exist.
    `jumps` are `[user@]host[:port]`, first hop first. `known_hosts` are files, new keys go to the first.
    """

    hostname: str
    port: int
    user: str
    required_key: Path | None
    keys: tuple[Path, ...]
    use_agent: bool
    host_key_name: str
    known_hosts: tuple[Path, ...]
    accept_new: bool
    jumps: tuple[str, ...] = ()
    proxy_command: str | None = None


def resolve(connection: Connection, config_text: str, home: Path) -> Settings:
    """Settings of a host of the inventory. Raises SettingsError."""
    first: dict[str, str] = {}
    if connection.port is not None:
        first["port"] = str(connection.port)
    if connection.user is not None:
        first["user"] = connection.user
    if connection.private_key_file is not None:
        first["identityfile"] = str(connection.private_key_file)
    lines = [*first.items(), *connection.options]
    return _resolve(connection.host, lines, connection.private_key_file, config_text, home)


def resolve_jump(hop: str, config_text: str, home: Path) -> Settings:
    """Settings of a jump host written as ProxyJump writes it. Raises SettingsError."""
    rest = hop.removeprefix("ssh://")
    user, separator, address = rest.rpartition("@")
    host, port = _split_port(address)
    lines = [("user", user)] if separator else []
    if port is not None:
        lines.append(("port", port))
    return _resolve(host, lines, None, config_text, home)


def for_lab(connection: Connection, key_file: Path, known_hosts: Path) -> Settings:
    """Settings of a lab host: its own key and known_hosts, nothing of the user's."""
    return Settings(
        hostname=connection.host,
        port=connection.port or 22,
        user=connection.user or getpass.getuser(),
        required_key=key_file,
        keys=(key_file,),
        use_agent=False,
        host_key_name=connection.host,
        known_hosts=(known_hosts,),
        accept_new=False,
    )


def read_config(home: Path, system: Path = Path("/etc/ssh/ssh_config")) -> str:
    """The user's and the system's configuration, `Include` resolved. Raises SettingsError."""
    user = _read(home / ".ssh" / "config", home / ".ssh", home, 0)
    return f"{user}\nHost *\n{_read(system, system.parent, home, 0)}"


def _resolve(
    host: str, first: list[tuple[str, str]], required: Path | None, config_text: str, home: Path
) -> Settings:
    for name, value in first:
        if "\n" in value or "\n" in name:
            raise SettingsError(f"the SSH option {name} contains a line break")
    block = "".join(f"{name} {value}\n" for name, value in first)
    try:
        found = paramiko.SSHConfig.from_text(f"Host *\n{block}{config_text}").lookup(host)
    except (paramiko.ConfigParseError, paramiko.ssh_exception.CouldNotCanonicalize, KeyError) as error:
        raise SettingsError(f"the SSH configuration cannot be followed: {error}") from error
    names = found.get("identityfile") or [str(home / ".ssh" / name) for name in DEFAULT_KEYS]
    jumps, proxy_command = _proxy(found)
    return Settings(
        hostname=found["hostname"],
        port=_port(found.get("port", "22")),
        user=found.get("user") or getpass.getuser(),
        required_key=required,
        keys=tuple(_expand(name, home) for name in names if name.lower() != "none"),
        use_agent=not _yes(found.get("identitiesonly")) and found.get("identityagent", "").lower() != "none",
        host_key_name=found.get("hostkeyalias", found["hostname"]),
        known_hosts=_files(found.get("userknownhostsfile", DEFAULT_KNOWN_HOSTS), home)
        + _files(found.get("globalknownhostsfile", GLOBAL_KNOWN_HOSTS), home),
        accept_new=found.get("stricthostkeychecking", "").lower() == "accept-new",
        jumps=jumps,
        proxy_command=proxy_command,
    )


def _proxy(found: Mapping[str, str]) -> tuple[tuple[str, ...], str | None]:
    """ProxyJump or ProxyCommand, whichever was said first (ssh_config(5))."""
    for key in found:
        value = found[key]
        if key not in ("proxyjump", "proxycommand"):
            continue
        if value is None or value.lower() == "none":
            return (), None
        if key == "proxyjump":
            return tuple(hop.strip() for hop in value.split(",")), None
        return (), value
    return (), None


def _read(file: Path, base: Path, home: Path, depth: int) -> str:
    if depth > _MAX_INCLUDES:
        raise SettingsError(f"{file}: Include goes deeper than {_MAX_INCLUDES} files")
    try:
        text = file.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: cannot be read: {error}") from error
    lines, block = [], "Host *"
    for line in text.splitlines():
        words = line.replace("=", " ", 1).split()
        keyword = words[0].lower() if words else ""
        if keyword in ("host", "match"):
            block = line
        if keyword != "include":
            lines.append(line)
            continue
        for pattern in words[1:]:
            place = _expand(pattern.strip('"'), home)
            place = place if place.is_absolute() else base / place
            included = sorted(place.parent.glob(place.name)) if place.parent.is_dir() else []
            lines += [_read(name, base, home, depth + 1) for name in included]
        lines.append(block)  # what follows belongs to the block that the Include stands in
    return "\n".join(lines)


def _files(value: str, home: Path) -> tuple[Path, ...]:
    names = [name.strip('"') for name in value.split()]
    return tuple(_expand(name, home) for name in names if name.lower() != "none")


def _expand(name: str, home: Path) -> Path:
    name = name.strip('"').replace("%d", str(home))
    return home / name[2:] if name.startswith("~/") else Path(name)


def _split_port(address: str) -> tuple[str, str | None]:
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        return host, rest.removeprefix(":") or None
    host, separator, port = address.rpartition(":")
    return (host, port) if separator and ":" not in host else (address, None)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise SettingsError(f"the SSH port {text!r} is not a number from 1 to 65535")
    return int(text)


def _yes(value: str | None) -> bool:
    return (value or "").lower() in ("yes", "true")
