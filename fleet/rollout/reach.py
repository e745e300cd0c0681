"""Gets to hosts and asks for facts, many at once. Shell: decides nothing.

Called by `fleet.cli.apply` and `fleet.rollout.status`. A host that cannot be reached is a value,
not an exception: the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
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
    forks: int,
    timeout: float,
    probe: bool = False,
    event: Event = lambda _host, _text: None,
    done: Callable[[str], None] = lambda _host: None,
) -> Iterator[dict[str, Reached]]:
    """Connects to every host and gathers its facts, `forks` at a time; closes every connection at the end.

    What comes is in the order of `hosts`. `timeout` in seconds bounds each step on each host. `probe` asks
    agents to call idle peers.
    """

    def one(host: Host) -> Reached:
        event(host.name, "connecting")
        transport = None
        try:
            transport = open_transport(host, access, timeout)
            return Reached(host, transport, gather(transport, probe=probe))
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
    """Results in the order they come; an interrupt starts nothing more and leaves what runs behind."""
    pool = ThreadPoolExecutor(max_workers=max(1, min(forks, len(hosts) or 1)))
    try:
        for future in as_completed([pool.submit(function, host) for host in hosts]):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
