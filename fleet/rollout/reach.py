"""Gets to hosts and asks for facts, many at once. Shell: decides nothing.

Called by `fleet.cli.apply` and `fleet.rollout.status`. A host that cannot be reached is a value,
not an exception: the others go on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Literal, TypeVar

from fleet.delivery.facts import Facts, gather
from fleet.inventory.model import Host
from fleet.lab.access import LabAccess
from fleet.transport.base import Transport, TransportError
from fleet.transport.connect import open_transport

T = TypeVar("T")
Event = Callable[[str, str], None]


@dataclass(frozen=True)
class Reached:
    """A host and an open way to it, or why there is none."""

    host: Host
    transport: Transport | None = None
    facts: Facts | None = None
    error: str | None = None
    failure: Literal["unreachable", "failed"] | None = None


@contextmanager
def reach(
    hosts: Iterable[Host],
    access: LabAccess | None,
    *,
    fleets: Sequence[str],
    forks: int,
    timeout: float,
    probe: bool = False,
    event: Event = lambda _host, _text: None,
    done: Callable[[str], None] = lambda _host: None,
) -> Iterator[dict[str, Reached]]:
    """Connects to every host and gathers its facts, `forks` at a time; closes every connection at the end.

    What comes is in the order of `hosts`. Agents report on the fleet that has one of the ids and names
    `fleets`. `timeout` in seconds bounds each step on each host. `probe` asks agents to call idle peers.
    """

    def one(host: Host) -> Reached:
        event(host.name, "connecting")
        transport = None
        try:
            transport = open_transport(host, access, timeout)
            return Reached(host, transport, gather(transport, fleets, probe))
        except TransportError as error:
            if transport is not None:
                transport.close()
            return Reached(host, error=str(error), failure=error.kind)
        finally:
            done(host.name)

    wanted = list(hosts)
    reached: dict[str, Reached] = {}
    try:
        for result in in_parallel(one, wanted, forks):
            reached[result.host.name] = result
        yield {host.name: reached[host.name] for host in wanted}
    finally:
        for result in reached.values():
            if result.transport is not None:
                result.transport.close()


def in_parallel(function: Callable[[Host], T], hosts: list[Host], forks: int) -> Generator[T, None, None]:
    """Results in the order they come; an interrupt begins nothing more and leaves what runs behind.

    So the threads are daemons, which no pool of the standard library has: a host that hangs must not keep
    a command that was interrupted.
    """
    waiting, over = deque(hosts), threading.Event()
    results: SimpleQueue[tuple[list[T], BaseException | None]] = SimpleQueue()

    def work() -> None:
        with suppress(IndexError):
            while not over.is_set():
                host = waiting.popleft()
                try:
                    results.put(([function(host)], None))
                except BaseException as error:
                    results.put(([], error))

    for _ in range(min(forks, len(hosts))):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in hosts:
            found, error = results.get()
            if error is not None:
                raise error
            yield from found
    finally:
        over.set()
