"""Progress over hosts: a bar and one of the hosts on a terminal, elsewhere a plain line an event.

On standard error, so that standard output is the result's alone. Called by the commands that take a
while.
"""

from __future__ import annotations

from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from fleet.views.console import err, escape


class HostProgress:
    """A context over one phase for `total` hosts; `event` and `done` may be called from many threads.

    `lines` is whether events are worth a line where there is no terminal.
    """

    def __init__(self, phase: str, total: int, quiet: bool, lines: bool = True) -> None:
        self._plain = lines and not err().is_terminal and not quiet
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=err(),
            transient=True,
            disable=quiet or not err().is_terminal,
        )
        self._task = self._progress.add_task(phase, total=total)
        self._phase = phase
        self._running: dict[str, str] = {}

    def __enter__(self) -> HostProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def event(self, host: str, text: str) -> None:
        """Something began on a host."""
        if self._plain:
            err().print(escape(f"{host}: {text}"))
        self._running[host] = text
        self._progress.update(self._task, description=escape(self.text))

    def done(self, host: str) -> None:
        """A host needs nothing more in this phase."""
        self._running.pop(host, None)
        self._progress.advance(self._task)
        self._progress.update(self._task, description=escape(self.text))

    @property
    def text(self) -> str:
        """Who has been at it the longest, for whom the others wait; the phase where nobody is at it."""
        return next((f"{host}: {text}" for host, text in list(self._running.items())), self._phase)
