"""Carries jobs to hosts: installs, delivers, reads again, many hosts at once.

Asks nobody, prints nothing, does not touch the state. A host that fails, fails alone. Called by
`fleet.cli.apply`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from agent.bundle import Bundle
from agent.report import Change, Link, Report
from agent.secret import Secrets
from fleet.delivery import agent as agents
from fleet.delivery.install import install
from fleet.delivery.release import archive
from fleet.inventory.model import Host
from fleet.rollout.job import Job
from fleet.rollout.outcome import Outcome
from fleet.rollout.reach import Event, Reached, in_parallel
from fleet.transport.base import TransportError


def carry_out(
    jobs: Iterable[Job],
    secrets: Mapping[str, Secrets],
    *,
    forks: int,
    replace_fleet: bool,
    event: Event,
    done: Callable[[str], None],
    stop: Callable[[], bool],
) -> dict[str, Outcome]:
    """Does every job, `forks` at a time; once `stop` says so, none that was not begun.

    Hosts that can only call come after those that they call: a call that comes too early is lost, and
    WireGuard repeats it after five seconds.

    `secrets` has the keys that each host's bundle needs; `replace_fleet` says that hosts may belong to
    another fleet; `event` and `done` tell of progress.
    """
    work = {job.work.host: job for job in jobs}

    def one(host: Host) -> Outcome:
        if stop():
            return Outcome(host.name, "skipped", error=f"{host.name}: interrupted before it was begun")
        try:
            job = work[host.name]
            return _do(job, secrets[host.name], replace_fleet or job.renames, event)
        finally:
            done(host.name)

    hosts = [job.reached.host for job in work.values()]
    called, callers = [h for h in hosts if h.endpoint], [h for h in hosts if not h.endpoint]
    return {outcome.host: outcome for wave in (called, callers) for outcome in in_parallel(one, wave, forks)}


def _do(job: Job, secrets: Secrets, replace_fleet: bool, event: Event) -> Outcome:
    name, transport = job.work.host, job.reached.transport
    assert transport is not None
    done: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    report = job.facts.report
    try:
        if job.work.install:
            event(name, "installing the agent")
            notes = tuple(install(transport, job.release, archive(job.release, job.wheels), job.facts.boot))
            done += tuple(change for change in job.work.changes if change.layer == "runtime")
        event(name, "applying")
        applied = agents.apply(transport, job.bundle, secrets, replace_fleet)
        done += tuple(change for change in job.work.changes if change.layer == "bundle") + applied.changes
        report = applied.report
    except TransportError as error:
        return Outcome(name, error.kind, done, str(error), report, notes)
    error_text = _incomplete(name, job.bundle, report)
    if error_text is not None:
        return Outcome(name, "failed", done, error_text, report, notes)
    return Outcome(name, "changed" if done else "unchanged", done, None, report, notes)


def read_again(
    outcomes: Mapping[str, Outcome],
    jobs: Mapping[str, Job],
    *,
    forks: int,
    event: Event,
    done: Callable[[str], None],
) -> dict[str, Outcome]:
    """The outcomes of hosts that were changed, with a report of now, when all others are done too.

    Agents call their idle peers first. A host whose state is not what its bundle says any more, or whose
    agent does not answer any more, has failed.
    """
    changed = [jobs[name].reached.host for name, outcome in outcomes.items() if outcome.result == "changed"]

    def one(host: Host) -> Outcome:
        outcome, transport = outcomes[host.name], jobs[host.name].reached.transport
        assert transport is not None
        event(host.name, "reading again")
        try:
            report = agents.report(transport, jobs[host.name].bundle.fleet, probe=True)
        except TransportError as error:
            return replace(outcome, result=error.kind, error=str(error))
        finally:
            done(host.name)
        wrong = _incomplete(host.name, jobs[host.name].bundle, report)
        return replace(outcome, result="failed" if wrong else outcome.result, error=wrong, report=report)

    again = {outcome.host: outcome for outcome in in_parallel(one, changed, forks)}
    return {name: again.get(name, outcome) for name, outcome in outcomes.items()}


def down_links(outcomes: Mapping[str, Outcome]) -> list[str]:
    """Sentences about links that are down although both of their hosts are as they should be."""
    good = {name for name, outcome in outcomes.items() if outcome.ok and outcome.report is not None}
    down = {
        f"{min(name, link.host)} - {max(name, link.host)}"
        for name in good
        for link in _links(outcomes[name].report)
        if link.state == "down" and link.host in good and not _older(outcomes[name], outcomes[link.host])
    }
    if not down:
        return []
    return [
        f"no answer over {', '.join(sorted(down))}: is the WireGuard port (UDP) open between them, is "
        "fleet_endpoint right?"
    ]


def waiting(
    reached: Mapping[str, Reached], bundles: Mapping[str, Bundle], chosen: Collection[str]
) -> list[str]:
    """The hosts that are not `chosen` and hold another bundle than they should, as far as they answer."""
    return [
        name
        for name, found in reached.items()
        if name not in chosen
        and found.facts is not None
        and (found.facts.report is None or found.facts.report.digest != bundles[name].digest())
    ]


def _older(one: Outcome, other: Outcome) -> bool:
    """Whether `one` was asked before `other` was changed, so that what it says of it counts no more."""
    return one.result == "unchanged" and other.result == "changed"


def _links(report: Report | None) -> Iterable[Link]:
    return () if report is None else report.links


def _incomplete(name: str, bundle: Bundle, report: Report) -> str | None:
    """Why a host that was written to is not what it should be, as a sentence."""
    if report.digest != bundle.digest() or report.revision != bundle.revision:
        return f"{name}: it holds another bundle than the one that was delivered: does somebody else apply?"
    if report.pending:
        items = ", ".join(f"{change.action} {change.layer} {change.item}" for change in report.pending[:3])
        more = f" and {len(report.pending) - 3} more" if len(report.pending) > 3 else ""
        why = f": {report.problems[0]}" if report.problems else ""
        return f"{name}: not everything could be changed ({items}{more}){why}"
    return None
