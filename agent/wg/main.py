"""`fleet-agent show` and what else `wg` does: words to calls, results to the streams.

Job: check the words, read and write devices, files and streams. Exit codes are wg's: 0, or 1 where
something was wrong, which stderr explains. No key is ever taken from the words. Called by agent.cli.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Callable, Optional

from agent.host.device import DeviceEdit, SocketAddress
from agent.stderr import say, write
from agent.wg.devices import Devices

_ALL, _INTERFACES = "all", "interfaces"
_HELP = frozenset({"-h", "--help", "help"})
_USAGE = {
    "show": "show [IFACE|all|interfaces] [{fields}]",
    "showconf": "showconf IFACE",
    "setconf": "setconf IFACE FILE",
    "addconf": "addconf IFACE FILE",
    "syncconf": "syncconf IFACE FILE",
    "genkey": "genkey",
    "genpsk": "genpsk",
    "pubkey": "pubkey < FILE",
}
_LONGEST_KEY_FILE = 4096
_FOR_ROOT = frozenset({errno.EPERM, errno.EACCES, errno.ENODEV})
"""What a device seems to be, or is, to somebody who may not see it."""


class CommandError(Exception):
    """One line for stderr."""


def run(command: str, words: list[str], devices: Optional[Devices] = None) -> int:
    """Runs one of the commands that agent.cli names and returns the exit code."""
    if len(words) == 1 and words[0] in _HELP:
        return _print(_usage(command))
    try:
        return _COMMANDS[command](command, words, devices or Devices())
    except CommandError as error:
        say(str(error))
        return 1


def _show(command: str, words: list[str], devices: Devices) -> int:
    subject = words[0] if words else _ALL
    field = words[1] if len(words) > 1 else ""
    if len(words) > 2 or (subject == _INTERFACES and len(words) > 1):
        return _wrong(command)
    if subject == _INTERFACES:
        names = _names(devices)
        return _print(" ".join(names) + "\n" if names else "")
    if len(words) > 1 and not _is_field(field):
        return _wrong(command, f"unknown field {field}")
    if subject != _ALL:
        return _print(_device(subject, field, devices, named=False))
    shown = []
    for name in _names(devices):
        try:
            shown.append(_device(name, field, devices, named=True))
        except CommandError as error:  # the others are shown nevertheless
            say(str(error))
    return _print(("" if field else "\n").join(shown))


def _device(name: str, field: str, devices: Devices, named: bool) -> str:
    """A device as text; `named` puts its name before each line of a field."""
    from agent.wg import fields, pretty

    try:
        found = devices.read(name)
    except OSError as error:
        raise CommandError(f"Unable to access interface {name}: {_why(error)}") from error
    if field:
        return fields.render(field, found, name if named else None)
    mode = os.environ.get("WG_COLOR_MODE")
    colours = mode == "always" or (mode != "never" and sys.stdout.isatty())
    style = pretty.Style(colours, keys=os.environ.get("WG_HIDE_KEYS") == "never")
    return pretty.render(name, found, int(time.time()), style)


def _is_field(word: str) -> bool:
    from agent.wg.fields import FIELDS

    return word in FIELDS


def _names(devices: Devices) -> tuple[str, ...]:
    try:
        return devices.names()
    except OSError as error:
        raise CommandError(f"Unable to list interfaces: {_why(error)}") from error


def _showconf(command: str, words: list[str], devices: Devices) -> int:
    from agent.wg.config import render

    if len(words) != 1:
        return _wrong(command)
    try:
        return _print(render(devices.read(words[0])))
    except OSError as error:
        raise CommandError(f"Unable to access interface {words[0]}: {_why(error)}") from error


def _configure(command: str, words: list[str], devices: Devices) -> int:
    if len(words) != 2:
        return _wrong(command)
    name, file = words
    change = _change(command, name, file, devices)
    try:
        devices.write(name, change)
    except OSError as error:
        raise CommandError(f"Unable to modify interface {name}: {_why(error)}") from error
    return 0


def _change(command: str, name: str, file: str, devices: Devices) -> DeviceEdit:
    from agent.wg import config, edit, lookup

    try:
        found = config.parse(Path(file).read_text("utf-8", "surrogateescape"), file)
        retries = lookup.retries(os.environ)
    except OSError as error:
        raise CommandError(f"{file}: {_why(error)}") from error
    except ValueError as error:
        raise CommandError(str(error)) from error
    for warning in found.warnings:
        say(f"warning: {warning}")

    def resolve(endpoint: config.Endpoint) -> SocketAddress:
        place = f"{file}:{endpoint.line}: {endpoint}"
        try:
            return lookup.resolve(
                endpoint.host, endpoint.port, retries, lambda failure: say(f"{place}: {failure}")
            )
        except lookup.LookupFailedError as error:
            raise CommandError(f"{place}: {error}") from error

    if command == "setconf":
        return edit.setconf(found, resolve)
    if command == "addconf":
        return edit.addconf(found, resolve)
    try:
        current = devices.read(name)
    except OSError as error:
        raise CommandError(f"Unable to access interface {name}: {_why(error)}") from error
    return edit.syncconf(found, resolve, current)


def _generate(command: str, words: list[str], _devices: Devices) -> int:
    from agent.wg import keys

    if words:
        return _wrong(command)
    _warn_of_readers()
    random = os.urandom(keys.SIZE)
    return _print((keys.private(random) if command == "genkey" else keys.encode(random)) + "\n")


def _pubkey(command: str, words: list[str], _devices: Devices) -> int:
    from agent.wg import keys

    if words:
        return _wrong(command)
    try:
        public = keys.public(sys.stdin.buffer.read(_LONGEST_KEY_FILE).decode("latin-1"))
    except (AttributeError, OSError) as error:
        raise CommandError("pubkey: there is no stdin to read the private key from") from error
    except ValueError as error:
        raise CommandError(f"pubkey: stdin: {error}") from error
    return _print(public + "\n")


_COMMANDS: dict[str, Callable[[str, list[str], Devices], int]] = {
    "show": _show,
    "showconf": _showconf,
    "setconf": _configure,
    "addconf": _configure,
    "syncconf": _configure,
    "genkey": _generate,
    "genpsk": _generate,
    "pubkey": _pubkey,
}


def _warn_of_readers() -> None:
    """A secret is about to go to stdout: is that a file which everybody may open?"""
    with suppress(AttributeError, OSError, ValueError):
        found = os.fstat(sys.stdout.fileno())
        if stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IRWXO:
            say("warning: writing to a file that everybody can open: set the umask to 077 and try again")


def _usage(command: str) -> str:
    usage = _USAGE[command]
    if "{fields}" in usage:
        from agent.wg.fields import FIELDS

        usage = usage.format(fields="|".join(FIELDS))
    return f"usage: fleet-agent {usage}\n"


def _wrong(command: str, what: str = "") -> int:
    if what:
        say(f"{command}: {what}")
    write(_usage(command))
    return 1


def _print(content: str) -> int:
    """To stdout; whether all of it went there is the exit code. A reader who left is told nothing."""
    try:
        sys.stdout.write(content)
        sys.stdout.flush()
    except BrokenPipeError:
        _give_stdout_up()
        return 1
    except OSError as error:
        _give_stdout_up()
        raise CommandError(f"stdout: {error}") from error
    except AttributeError as error:  # there is none
        raise CommandError(f"stdout: {error}") from error
    return 0


def _give_stdout_up() -> None:
    """What Python has not written yet must not be tried once more at exit: its exit code would be another."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _why(error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"{reason} (are you root?)" if os.geteuid() and error.errno in _FOR_ROOT else reason
