"""What went wrong on the way to a host, as one sentence with the cure. Pure.

Called by `ssh` with what its library raised. Refuses to know when that happened: the caller says.
"""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import paramiko

from fleet.transport.known_hosts import Entry, fingerprint, lookup_name


def connecting(error: BaseException, host: str, port: int) -> str:
    """Why no connection to `host` came about."""
    if isinstance(error, socket.gaierror):
        return f"the name {host} does not resolve ({error.strerror}): correct ansible_host or the DNS"
    if isinstance(error, OSError):
        at = f"{host} port {port}"
        number = error.errno
        if number == errno.ECONNREFUSED:
            return f"{at} refuses connections: is sshd running there, and is ansible_port right?"
        if number in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            return f"there is no route to {host}: is it up, and is ansible_host right?"
        if isinstance(error, TimeoutError) or number == errno.ETIMEDOUT:
            return f"{at} does not answer: is it up, and does a firewall let SSH through?"
        return f"cannot connect to {at}: {error.strerror or error}"
    text = str(error)
    if "Error reading SSH protocol banner" in text or isinstance(error, EOFError):
        return (
            f"{host} port {port} closed the connection or is no SSH server: is ansible_port right, "
            "or is sshd overloaded (MaxStartups)?"
        )
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return f"{host} port {port} speaks none of the SSH algorithms that we do ({text}): update its sshd"
    return f"SSH with {host} port {port} failed: {text or type(error).__name__}"


def silent(host: str, port: int, seconds: float, stage: str) -> str:
    """A host that stopped answering while `stage` went on."""
    return f"{host} port {port} did not answer within {seconds:g} s ({stage}): is it up, is it overloaded?"


def unknown_key(host: str, port: int, key_type: str, key: bytes, file: Path) -> str:
    """A host key that no file knows."""
    where = f"-p {port} {host}" if port != 22 else host
    return (
        f"the host key of {lookup_name(host, port)} is not known ({key_type} {fingerprint(key)}): compare it "
        f"with `ssh-keygen -lf` on the host, then run `ssh-keyscan {where} >> {file}` or log in once with ssh"
    )


def changed_key(host: str, port: int, key_type: str, key: bytes, entry: Entry) -> str:
    """A host key that is not the one we know."""
    return (
        f"the host key of {lookup_name(host, port)} has changed: it shows {key_type} {fingerprint(key)}, but "
        f"{entry.file}:{entry.line} has {entry.key_type} {fingerprint(entry.key)}. Somebody may sit between. "
        f"If the host was set up anew: ssh-keygen -R '{lookup_name(host, port)}' -f {entry.file}"
    )


def revoked_key(host: str, port: int, entry: Entry) -> str:
    """A host key that was revoked."""
    return f"the host key of {lookup_name(host, port)} is revoked by {entry.file}:{entry.line}"


def refused(user: str, host: str, port: int, tried: list[str]) -> str:
    """A login that the host did not accept; `tried` names keys."""
    keys = ", ".join(tried) if tried else "no key at all: there is none in the agent or in ~/.ssh"
    return (
        f"{host} port {port} refuses {user} (tried {keys}): put the public key in {user}'s authorized_keys "
        "there, or set ansible_user or ansible_ssh_private_key_file"
    )
