"""Bytes through an SSH channel, both ways at once, so that neither side waits for the other forever.

Called by `ssh`. Refuses to know what the bytes mean, but for sudo's prompt, which it answers.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import paramiko

from fleet.transport.deadline import Deadline
from fleet.transport.sudo import Escalation

MOST_BYTES = 64 << 20
"""What a command may print: a report of a host with ten thousand peers is a tenth of that."""
MOST_COMPLAINT_BYTES = 4 << 20
"""What is kept of standard error, from its start."""

_CHUNK = 1 << 17


class TooMuchError(Exception):
    """A command printed more than MOST_BYTES."""


@dataclass(frozen=True)
class Streams:
    """What came back; `exit_code` is None where the channel ended without one."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes


def pump(channel: paramiko.Channel, stdin: bytes, escalation: Escalation, deadline: Deadline) -> Streams:
    """Sends `stdin` and collects both outputs until the command ended or the channel did.

    Waits block; the limit is the deadline's, which closes the connection and so ends the channel. Raises
    TooMuchError; whoever made the channel closes it.
    """
    channel.settimeout(None)
    stderr = bytearray()
    may_write = threading.Event()
    if not escalation.waits:
        may_write.set()
    threads = [
        threading.Thread(target=_complaints, args=(channel, stderr, escalation, may_write), daemon=True)
    ]
    if stdin or escalation.waits:
        threads.append(threading.Thread(target=_feed, args=(channel, stdin, may_write), daemon=True))
    else:
        channel.shutdown_write()
    for thread in threads:
        thread.start()
    stdout = bytearray()
    while chunk := channel.recv(_CHUNK):
        stdout += chunk
        if len(stdout) > MOST_BYTES:
            raise TooMuchError
    for thread in threads:
        thread.join()
    if not channel.status_event.wait(deadline.left) or channel.exit_status < 0:
        return Streams(None, bytes(stdout), bytes(stderr))
    return Streams(channel.exit_status, bytes(stdout), bytes(stderr))


def _complaints(
    channel: paramiko.Channel, stderr: bytearray, escalation: Escalation, may_write: threading.Event
) -> None:
    answered = 0
    try:
        while chunk := channel.recv_stderr(_CHUNK):
            if len(stderr) < MOST_COMPLAINT_BYTES:
                stderr += chunk
            if may_write.is_set():
                continue
            if escalation.started(bytes(stderr)):
                may_write.set()
            elif escalation.asked(bytes(stderr)) > answered:
                answered += 1
                if answered > 1:  # the same password again would be no better
                    channel.shutdown_write()
                else:
                    channel.sendall(f"{escalation.password}\n".encode())
    except (OSError, EOFError, paramiko.SSHException):
        return  # the channel is gone; its exit status says so
    finally:
        may_write.set()


def _feed(channel: paramiko.Channel, stdin: bytes, may_write: threading.Event) -> None:
    may_write.wait()
    try:
        rest = memoryview(stdin)
        while rest and not channel.eof_received:
            sent = channel.send(bytes(rest[:_CHUNK]))
            if sent == 0:
                return
            rest = rest[sent:]
        channel.shutdown_write()
    except (OSError, EOFError, paramiko.SSHException):
        return  # a command may end without reading everything; its exit status says how
