"""SSH: one connection a host, everything over it. The only importer of fabric.

Job: connect within a limit, check the host's key always, log in, run commands as root. Everything that
goes wrong becomes a TransportError with one sentence. Refuses passwords but sudo's. Called by `connect`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import paramiko
from fabric.config import Config
from fabric.connection import Connection

from fleet.transport import known_hosts, reasons
from fleet.transport.base import Completed, TransportError
from fleet.transport.deadline import Deadline
from fleet.transport.dial import RefusalError, dial
from fleet.transport.login import Login
from fleet.transport.pump import MOST_BYTES, TooMuchError, pump
from fleet.transport.settings import Settings
from fleet.transport.sudo import Escalation

_log = logging.getLogger("paramiko")
_log.addHandler(logging.NullHandler())
_log.propagate = False  # paramiko logs tracebacks of what we turn into sentences

_new_connection = cast(Callable[..., Any], Connection)
_new_config = cast(Callable[..., Any], Config)
_WRITE_LOCK = threading.Lock()
_BROKEN = (OSError, EOFError, paramiko.SSHException)


class SshTransport:
    """Commands as root over one SSH connection."""

    def __init__(
        self,
        host: str,
        transport: paramiko.Transport,
        closers: list[Callable[[], None]],
        escalation: Escalation,
    ) -> None:
        self.host = host
        self.timeout = 15.0
        self._transport = transport
        self._closers = closers
        self._escalation = escalation

    def run(self, command: str, *, stdin: bytes = b"", timeout: float) -> Completed:
        """See `Transport.run`; a command that does not end in time ends the connection too."""
        with Deadline(timeout, self.close) as deadline:
            try:
                channel = self._transport.open_session(timeout=deadline.left)
                with contextlib.closing(channel):
                    channel.exec_command(self._escalation.command_line(command))
                    streams = pump(channel, stdin, self._escalation, deadline)
            except _BROKEN as error:
                raise self._lost(deadline, error) from None
            except TooMuchError:
                reason = f"a command printed more than {MOST_BYTES >> 20} MiB: see what root's shell prints"
                raise TransportError(self.host, "failed", reason) from None
        if streams.exit_code is None:
            raise self._lost(deadline, None)
        if not self._escalation.started(streams.stderr):
            raise TransportError(self.host, "failed", self._escalation.explain(streams.stderr))
        stderr = self._escalation.strip(streams.stderr).decode(errors="replace")
        return Completed(streams.exit_code, streams.stdout, stderr)

    def close(self) -> None:
        """Ends the connection and those to jump hosts."""
        for close in reversed(self._closers):
            with contextlib.suppress(Exception):
                close()

    def _lost(self, deadline: Deadline, error: BaseException | None) -> TransportError:
        if deadline.over:
            reason = f"a command did not end within {deadline.seconds:g} s: is the host overloaded?"
            return TransportError(self.host, "failed", reason)
        if isinstance(error, paramiko.ChannelException):
            reason = f"sshd opens no session ({error.text}): look at MaxSessions and at the host's log"
            return TransportError(self.host, "failed", reason)
        reason = "the connection was lost while a command ran: is the host still up? Run the same again"
        return TransportError(self.host, "unreachable", reason)


class _HostKeys(paramiko.MissingHostKeyPolicy):
    """Asks our own known_hosts about every key; paramiko's store stays empty, so that it always asks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        entries: list[known_hosts.Entry] = []
        for file in settings.known_hosts:
            with contextlib.suppress(OSError):
                entries += _read_known_hosts(file, file.stat().st_mtime_ns)
        self._known = known_hosts.KnownHosts(tuple(entries)).of(settings.host_key_name, settings.port)

    def transport(self, sock: Any, **options: Any) -> paramiko.Transport:
        """A transport that asks first for the key types we know: else a known host can look changed."""
        transport = paramiko.Transport(sock, **options)
        security = transport.get_security_options()
        known = {entry.key_type for entry in self._known if not entry.revoked}
        if "ssh-rsa" in known:
            known |= {"rsa-sha2-512", "rsa-sha2-256"}
        offered = list(security.key_types)
        security.key_types = [name for name in offered if name in known] + [
            name for name in offered if name not in known
        ]
        return transport

    def missing_host_key(self, _client: paramiko.SSHClient, _name: str, key: paramiko.PKey) -> None:
        """Raises RefusalError for every key that is not known, or not to be added."""
        settings, data = self._settings, key.asbytes()
        name, port = settings.host_key_name, settings.port
        verdict, entry = known_hosts.judge(self._known, data)
        if verdict == "known":
            return
        if verdict == "unknown" and settings.accept_new and settings.known_hosts:
            _remember(settings.known_hosts[0], name, port, key)
            return
        if verdict == "unknown" or entry is None:
            file = settings.known_hosts[0] if settings.known_hosts else Path("~/.ssh/known_hosts")
            raise RefusalError(reasons.unknown_key(name, port, key.get_name(), data, file))
        if verdict == "revoked":
            raise RefusalError(reasons.revoked_key(name, port, entry))
        raise RefusalError(reasons.changed_key(name, port, key.get_name(), data, entry))


def connect(
    host: str, settings: Settings, jumps: list[Settings], escalation: Escalation, timeout: float
) -> SshTransport:
    """Connects and logs in within `timeout` seconds, through `jumps` in order. Raises TransportError."""
    closers: list[Callable[[], None]] = []

    def abort() -> None:
        for close in reversed(closers):
            with contextlib.suppress(Exception):
                close()

    with Deadline(timeout, abort) as deadline:
        try:
            inner: paramiko.Transport | None = None
            for hop in [*jumps, settings]:
                inner = _open(hop, inner, closers, deadline)
        except RefusalError as refusal:
            abort()
            raise TransportError(host, "unreachable", str(refusal)) from None
        except BaseException:
            abort()
            raise
    assert inner is not None
    transport = SshTransport(host, inner, closers, escalation)
    transport.timeout = timeout
    return transport


def _open(
    settings: Settings,
    previous: paramiko.Transport | None,
    closers: list[Callable[[], None]],
    deadline: Deadline,
) -> paramiko.Transport:
    """One hop. Raises RefusalError."""
    if settings.required_key is not None and not settings.required_key.is_file():
        raise RefusalError(
            f"the private key {settings.required_key} does not exist: correct ansible_ssh_private_key_file"
        )
    host, port = settings.hostname, settings.port
    login = Login(settings)
    closers.append(login.close)
    try:
        sock = dial(settings, previous, closers, deadline)
        policy = _HostKeys(settings)
        connection = _new_connection(
            host,
            user=settings.user,
            port=port,
            gateway=False,
            # one each: a connection writes into its configuration, and there are many at once
            config=_new_config(lazy=True, ssh_config=paramiko.SSHConfig()),
            connect_kwargs={
                "sock": sock,
                "timeout": deadline.left,
                "banner_timeout": deadline.left,
                "auth_timeout": deadline.left,
                "channel_timeout": deadline.left,
                "transport_factory": policy.transport,
                "auth_strategy": login,
            },
        )
        connection.client.set_missing_host_key_policy(policy)
        closers.append(connection.client.close)
        connection.open()
    except RefusalError:
        raise
    except _BROKEN as error:
        if deadline.over or deadline.left < 0.01:
            stage = "logging in" if login.tried else "connecting"
            raise RefusalError(reasons.silent(host, port, deadline.seconds, stage)) from None
        if isinstance(error, paramiko.AuthenticationException):
            raise RefusalError(reasons.refused(settings.user, host, port, login.tried)) from None
        raise RefusalError(reasons.connecting(error, host, port)) from None
    transport: paramiko.Transport = connection.transport
    return transport


@functools.lru_cache(maxsize=64)
def _read_known_hosts(file: Path, _changed: int) -> tuple[known_hosts.Entry, ...]:
    """The lines of a file; read once, since every host asks."""
    return known_hosts.parse(file.read_text(errors="replace"), str(file))


def _remember(file: Path, name: str, port: int, key: paramiko.PKey) -> None:
    """Adds a new key, a whole line at once."""
    line = f"{known_hosts.lookup_name(name, port)} {key.get_name()} {key.get_base64()}\n"
    with _WRITE_LOCK:
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RefusalError(f"a new host key cannot be written to {file}: {error.strerror}") from None
