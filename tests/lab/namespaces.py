"""Network namespaces for tests: two hosts on one wire, and commands in them.

Job: make them with names nobody else has, run and start commands inside, take everything away again
whatever happened. Refuses to know what is tested. Called by tests that are root.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

_numbers = itertools.count()


@dataclass
class Namespace:
    """One network namespace; `wire` is the name of its end of the veth.

    `v4` and `v6` are the addresses of that end, without prefix lengths.
    """

    name: str
    wire: str
    v4: str
    v6: str
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(
        self, *argv: str, check: bool = True, stdin: Optional[str] = None, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end; with `check`, a failure is an AssertionError that quotes its output."""
        command = ("ip", "netns", "exec", self.name, *argv)
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode:
            raise AssertionError(f"{argv} in {self.name}: {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def output(self, *argv: str) -> str:
        """What a command that succeeds prints, without white space around it."""
        return self.run(*argv).stdout.strip()

    def start(self, *argv: str, env: Optional[Mapping[str, str]] = None) -> subprocess.Popen[str]:
        """Starts a command whose output, both streams in one, can be read from `stdout`.

        It is ended, if it still runs, when the namespaces are.
        """
        process = subprocess.Popen(
            ("ip", "netns", "exec", self.name, *argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=None if env is None else {**os.environ, **env},
        )
        self.processes.append(process)
        return process

    def remake(self) -> None:
        """Its name is another, empty namespace's from now on; what runs in it stays in the old one."""
        self.remove()
        self.make()

    def remove(self) -> None:
        """Takes its name away, and with that its end unless something runs in it."""
        _ip("netns", "delete", self.name)

    def make(self) -> None:
        """Gives its name to a new, empty namespace."""
        _ip("netns", "add", self.name)


@contextmanager
def wired_pair(prefix: str = "fleet") -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces on one veth: 192.0.2.1 and .2, 2001:db8::1 and ::2. `prefix`: up to 8 characters."""
    with ExitStack() as stack:
        number = next(_numbers)
        pair = [
            stack.enter_context(
                _namespace(
                    Namespace(
                        name=f"{prefix}-{os.getpid()}-{number}-{end}",
                        wire="wire0",
                        v4=f"192.0.2.{end}",
                        v6=f"2001:db8::{end}",
                    )
                )
            )
            for end in (1, 2)
        ]
        first, second = pair
        _ip(
            "link", "add", "wire0", "netns", first.name, "type", "veth", "peer", "wire0", "netns", second.name
        )
        for space in pair:
            space.run("ip", "link", "set", space.wire, "up")
        for space in pair:
            space.run("ip", "address", "add", f"{space.v4}/24", "dev", space.wire)
            space.run("ip", "address", "add", f"{space.v6}/64", "dev", space.wire, "nodad")
        # IPv6 waits for the kernel to notice the carrier.
        wait_until(
            lambda: not first.run("ping", "-c1", "-W1", second.v6, check=False).returncode, "IPv6 on the wire"
        )
        yield first, second


@contextmanager
def third(between: Namespace, wire: str, number: int) -> Iterator[Namespace]:
    """One more namespace, on a wire of its own to `between`, whose end is called `wire`.

    The new one is 198.18.NUMBER.2, 2001:db8:NUMBER::2 there and `between` .1, ::1. Routes are not made.
    """
    space = Namespace(f"{between.name}-{number}", "wire0", f"198.18.{number}.2", f"2001:db8:{number}::2")
    with _namespace(space):
        between.run("ip", "link", "add", wire, "type", "veth", "peer", "wire0", "netns", space.name)
        for here, link, end in ((between, wire, 1), (space, "wire0", 2)):
            here.run("ip", "address", "add", f"198.18.{number}.{end}/24", "dev", link)
            here.run("ip", "address", "add", f"2001:db8:{number}::{end}/64", "dev", link, "nodad")
            here.run("ip", "link", "set", link, "up")
        yield space


@contextmanager
def box(beside: Namespace) -> Iterator[Namespace]:
    """One more namespace without any wire, as a container's that has no network of its own."""
    with _namespace(Namespace(f"{beside.name}-box", "lo", "127.0.0.1", "::1")) as space:
        yield space
        if not Path("/run/netns", space.name).exists():
            space.make()  # whoever made it takes it away


@contextmanager
def star(prefix: str, spokes: int) -> Iterator[tuple[Namespace, list[Namespace]]]:
    """A namespace in the middle and up to 250 around it, each on a wire of its own as of `third`."""
    with ExitStack() as stack:
        middle = stack.enter_context(
            _namespace(Namespace(f"{prefix}-{os.getpid()}-{next(_numbers)}", "lo", "127.0.0.1", "::1"))
        )
        yield (
            middle,
            [stack.enter_context(third(middle, f"wire{number}", number)) for number in range(1, spokes + 1)],
        )


def interface_name(prefix: str = "t") -> str:
    """A name for a WireGuard device that no other test uses now: control sockets lie in one folder."""
    return f"{prefix}{os.getpid()}x{next(_numbers)}"


def wait_until(condition: Callable[[], bool], what: str, limit: float = 10) -> None:
    """Polls until `condition` holds; AssertionError naming `what` after `limit` seconds."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit:g} s: {what}")
        time.sleep(0.02)


@contextmanager
def _namespace(space: Namespace) -> Iterator[Namespace]:
    _ip("netns", "add", space.name)
    try:
        space.run("ip", "link", "set", "lo", "up")
        yield space
    finally:
        for process in space.processes:
            process.terminate()
        for process in space.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
            if process.stdout is not None:
                process.stdout.close()
        _ip("netns", "delete", space.name)


def _ip(*argv: str) -> None:
    done = subprocess.run(("ip", *argv), capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise AssertionError(f"ip {' '.join(argv)}: {done.stderr}")
