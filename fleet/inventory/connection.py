"""Ansible's connection variables to a Connection.

Job: the variables that Ansible's ssh, local and sudo plugins read, older names included, of which the
last in each list wins, as there. Refuses to know ~/.ssh/config, which the transport reads. Called by `hosts`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from fleet.errors import Finding
from fleet.inventory.model import Connection
from fleet.inventory.surprises import surprises
from fleet.inventory.tree import Definition
from fleet.inventory.values import describe

HOST = ("ansible_host", "ansible_ssh_host")
PORT = ("ansible_port", "ansible_ssh_port")
USER = ("ansible_user", "ansible_ssh_user")
KEY_FILE = ("ansible_private_key_file", "ansible_ssh_private_key_file")
BECOME = ("ansible_become",)
BECOME_METHOD = ("ansible_become_method",)
BECOME_USER = ("ansible_become_user", "ansible_sudo_user")
BECOME_PASSWORD = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")
CONNECTION = ("ansible_connection",)
ARGUMENTS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
READ = (
    *HOST,
    *PORT,
    *USER,
    *KEY_FILE,
    *BECOME,
    *BECOME_METHOD,
    *BECOME_USER,
    *BECOME_PASSWORD,
    *CONNECTION,
    *ARGUMENTS,
)
"""Every variable that is read here."""
PASSWORDS = frozenset((*BECOME_PASSWORD, "ansible_password", "ansible_ssh_pass", "ansible_ssh_password"))
"""Variables whose values are shown to nobody."""

_KINDS = {
    "ssh": "ssh",
    "smart": "ssh",
    "paramiko": "ssh",
    "paramiko_ssh": "ssh",
    "local": "local",
}
_TRUE = ("y", "yes", "on", "1", "true", "t")
_FALSE = ("n", "no", "off", "0", "false", "f")
_FLAGS = {"J": "proxyjump", "i": "identityfile", "p": "port", "l": "user"}
_OPTION = re.compile(r"(\w+)(?:\s*=\s*|\s+)(.+)", re.DOTALL)
_IGNORED = re.compile(r"-[46ACNTXaknqtvx]+")
"""Flags of ssh(1) that change nothing for commands without a terminal."""


class ConnectionReader:
    """Reads one host's variables; refusals go to `findings`, the value then counts as not set."""

    def __init__(self, variables: dict[str, Definition], findings: list[Finding]) -> None:
        self._variables = variables
        self._findings = findings

    def read(self, name: str) -> Connection:
        """The connection of the host called `name`."""
        key_file = self.text(KEY_FILE)
        return Connection(
            kind="local" if self._kind() == "local" else "ssh",
            host=self.text(HOST) or name,
            port=self._port(),
            user=self.text(USER),
            private_key_file=Path(key_file).expanduser() if key_file else None,
            become=self._become(),
            become_user=self.text(BECOME_USER) or "root",
            become_password=self.text(BECOME_PASSWORD),
            options=self._options(),
        )

    def defined(self, names: tuple[str, ...]) -> Definition | None:
        """The definition that counts among several names of one thing."""
        found = None
        for name in names:
            definition = self._variables.get(name)
            if definition is not None and definition.read() is not None:
                found = definition
        return found

    def text(self, names: tuple[str, ...]) -> str | None:
        """A value as text; numbers are taken as they are written."""
        found = self._value(names)
        if found is None:
            return None
        definition, value = found
        if isinstance(value, str):
            return value or None
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        self._refuse(definition, f"expected text, not {describe(value)}; quote it")
        return None

    def _kind(self) -> str | None:
        kind = self.text(CONNECTION)
        if kind is None:
            return None
        found = _KINDS.get(kind.removeprefix("ansible.builtin."))
        if found is None:
            self._refuse(self._variables["ansible_connection"], f"{kind!r}: fleet knows ssh and local")
        return found

    def _port(self) -> int | None:
        found = self._value(PORT)
        if found is None:
            return None
        definition, value = found
        written = str(value)
        if isinstance(value, bool) or not written.isdecimal() or not 0 < int(written) < 65536:
            self._refuse(definition, f"expected a port from 1 to 65535, not {describe(value)}")
            return None
        return int(written)

    def _become(self) -> bool:
        method = self.text(BECOME_METHOD)
        if method is not None and method.removeprefix("ansible.builtin.") != "sudo":
            self._refuse(self._variables["ansible_become_method"], f"{method!r}: fleet knows sudo")
        found = self._value(BECOME)
        if found is None:
            return False
        definition, value = found
        word = str(value).lower().strip()
        if word not in _TRUE + _FALSE:
            self._refuse(definition, f"expected true or false, not {describe(value)}")
        return word in _TRUE

    def _options(self) -> tuple[tuple[str, str], ...]:
        options: list[tuple[str, str]] = []
        for name in ARGUMENTS:
            found = self._value((name,))
            if found is None:
                continue
            try:
                options += parse_arguments(found[1])
            except ValueError as error:
                self._refuse(found[0], str(error))
        return tuple(options)

    def _value(self, names: tuple[str, ...]) -> tuple[Definition, Any] | None:
        definition = self.defined(names)
        if definition is None:
            return None
        node = definition.value
        if node is not None and surprises(
            definition.document, node, str(definition.key.value), self._findings
        ):
            return None
        return definition, definition.read()

    def _refuse(self, definition: Definition, message: str) -> None:
        self._findings.append(Finding(definition.where, f"{definition.key.value}: {message}"))


def parse_arguments(text: Any) -> list[tuple[str, str]]:
    """Arguments of ssh(1) to options of ssh_config(5), keywords in lower case. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError(f"expected arguments of ssh, not {describe(text)}")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    options = []
    while words:
        word = words.pop(0)
        if _IGNORED.fullmatch(word):
            continue
        flag = word[1:2]
        if not word.startswith("-") or flag not in ("o", *_FLAGS):
            raise ValueError(f"{word!r} is not supported: use -o Option=value, -J, -i, -l or -p")
        value = word[2:] or (words.pop(0) if words else "")
        if not value:
            raise ValueError(f"{word} needs a value")
        options.append(_option(value) if flag == "o" else (_FLAGS[flag], value))
    return options


def _option(text: str) -> tuple[str, str]:
    match = _OPTION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"-o {text!r}: expected Option=value")
    return match[1].lower(), match[2]
