"""Proves to a server who we are: keys from files, then from the agent.

The order is OpenSSH's in effect: what was named first. Remembers what was tried, for the error. Called
by `ssh`. Refuses passwords: a fleet logs in with keys.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType

from fleet.transport.settings import Settings


class Login:
    """An authentication strategy for paramiko's SSHClient.connect; `tried` names every key offered."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.tried: list[str] = []
        self.agent: paramiko.Agent | None = None

    def authenticate(self, transport: paramiko.Transport) -> None:
        """Raises AuthenticationException where no key is accepted or a second factor is wanted."""
        for name, key in self._keys():
            self.tried.append(name)
            try:
                further = transport.auth_publickey(self._settings.user, key)
            except paramiko.BadAuthenticationType:
                break
            except paramiko.AuthenticationException:
                if not transport.is_active():
                    self.tried[-1] += ", then the host hung up"
                    break
                continue
            if not further:
                return
            self.tried.append(f"it then wants {' and '.join(further)}")
            break
        raise paramiko.AuthenticationException("no key was accepted")

    def close(self) -> None:
        """Ends the connection to the agent."""
        if self.agent is not None:
            self.agent.close()

    def _keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        for file in self._settings.keys:
            try:
                key = read_key(file, file.stat().st_mtime_ns)
            except FileNotFoundError:
                continue
            except (paramiko.PasswordRequiredException, TypeError):  # the latter from cryptography
                self.tried.append(f"not {file}, which has a passphrase: ssh-add it")
            except (OSError, ValueError, paramiko.SSHException, UnknownKeyType) as error:
                self.tried.append(f"not {file}, which cannot be read: {error}")
            else:
                yield str(file), key
        if not self._settings.use_agent:
            return
        try:
            self.agent = paramiko.Agent()
            keys = self.agent.get_keys()
        except (OSError, paramiko.SSHException) as error:
            self.tried.append(f"not the agent, which fails: {error}")
            return
        for agent_key in keys:
            yield f"{agent_key.comment or agent_key.get_name()} from the agent", agent_key


@functools.lru_cache(maxsize=64)
def read_key(file: Path, _changed: int) -> paramiko.PKey:
    """A private key; read once, since many hosts take the same."""
    return paramiko.PKey.from_path(file)
