"""What runs over SSH: asks the agent of this host one thing, prints its answer as one line, ends.

Job: one JSON object to the socket, one back. Refuses to read what the answer says beyond `ok`. Called
by cli. Imports little: it is started for every host at every command.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Sequence

from agent.places import RUN, SOCKET

REPORT_SECONDS = 30.0
APPLY_SECONDS = 300.0
"""An apply may have to wait for names to be resolved, a few seconds each."""
START_SECONDS = 15.0
"""How long an agent that was just started may take until its socket is there."""


class NoAnswerError(Exception):
    """A sentence for people: why the agent did not answer."""


def report(probe: bool, fleets: Sequence[str] = (), path: str = f"{RUN}/{SOCKET}") -> int:
    """Prints a report; with `probe`, peers that there is no session with are called first.

    `fleets` are ids and names: the report is of the fleet that has one of them; without any, of the only one
    that the host is in.
    """
    return _tell({"op": "report", "probe": probe, "fleets": list(fleets)}, path, REPORT_SECONDS, 0.0)


def secrets(fleets: Sequence[str] = (), path: str = f"{RUN}/{SOCKET}") -> int:
    """Prints the keys that the agent holds for a fleet, named as for a report."""
    return _tell({"op": "secrets", "fleets": list(fleets)}, path, REPORT_SECONDS, 0.0)


def apply(replace_fleet: bool, path: str = f"{RUN}/{SOCKET}") -> int:
    """Hands over what stdin holds, `{"bundle": ..., "secrets": [...]}`, and prints what came of it."""
    try:
        document = json.loads(sys.stdin.buffer.read())
    except ValueError:
        document = None
    if not isinstance(document, dict) or set(document) != {"bundle", "secrets"}:
        print('apply: expected {"bundle": ..., "secrets": [...]} on stdin', file=sys.stderr)
        return 1
    request = {"op": "apply", **document, "replace_fleet": replace_fleet}
    return _tell(request, path, APPLY_SECONDS, START_SECONDS)


def ask(request: dict[str, object], path: str, seconds: float, patience: float) -> bytes:
    """The agent's answer, one line, within `seconds`; it may need `patience` seconds to be there.

    Raises NoAnswerError.
    """
    with _connect(path, patience) as sock:
        sock.settimeout(seconds)
        try:
            try:
                sock.sendall(json.dumps(request).encode())
                sock.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it did not want all of it, and says why
            answer = bytearray()
            while not answer.endswith(b"\n"):
                piece = sock.recv(1 << 16)
                if not piece:
                    break
                answer += piece
        except socket.timeout:
            raise NoAnswerError(f"the agent did not answer within {seconds:g} s; its log says more") from None
        except OSError as error:
            raise NoAnswerError(f"the agent ended while it was asked ({error.strerror}): ask again") from None
    if not answer.endswith(b"\n"):
        raise NoAnswerError("the agent ended while it was asked, or refuses this user: ask again as root")
    return bytes(answer)


def _connect(path: str, patience: float) -> socket.socket:
    end = time.monotonic() + patience
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(5)
        try:
            sock.connect(path)
            return sock
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            if time.monotonic() >= end:
                why = f"no agent answers at {path}: start fleet-agent, or apply the fleet"
                raise NoAnswerError(why) from None
            time.sleep(0.05)
        except PermissionError:
            sock.close()
            raise NoAnswerError(f"{path} is for root alone: run this as root") from None
        except OSError as error:
            sock.close()
            raise NoAnswerError(f"the agent at {path} does not take the call: {error}") from None


def _tell(request: dict[str, object], path: str, seconds: float, patience: float) -> int:
    try:
        answer = ask(request, path, seconds, patience)
    except NoAnswerError as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
    return 0 if answer.startswith(b'{"ok":true') else 1
