"""Which agent a host runs that is in several fleets: the newest that speaks the bundles of all. Pure.

Job: whether the agent that is installed stays although this release is another one, or why there is none
that serves all. A host that is in no other fleet gets the release of whoever applies, older ones too.
Called by `fleet.rollout.job`.
"""

from __future__ import annotations

from agent.bundle import Bundle
from fleet.delivery.facts import Facts
from fleet.delivery.manifest import Manifest


def others(facts: Facts, fleet: str) -> tuple[str, ...]:
    """The names of the other fleets that a host is in; ids where its agent does not tell names."""
    if facts.report is not None:
        return tuple(other.name for other in facts.report.others)
    return tuple(other for other in facts.fleets if other != fleet)


def stays(facts: Facts, mine: Manifest, bundle: Bundle) -> bool | str:
    """Whether the installed agent is kept; a sentence with the cure where no agent serves all fleets.

    `mine` is what would be installed for `bundle` else.
    """
    names = others(facts, bundle.fleet)
    installed = facts.manifest
    if not names or facts.release is None:
        return False
    listed = ", ".join(names)
    if installed is None or not installed.is_newer(mine):
        return _unspoken(facts, mine) or False
    newer = f"newer than this one ({mine.version})"
    its = f"it is in {listed} too and its agent is of fleet {installed.version}, {newer}"
    cure = f"apply with fleet {installed.version} or newer"
    if facts.report is None:
        return f"{its}; {facts.agent_error or 'it does not answer'}; {cure}"
    if bundle.version not in installed.bundle_versions:
        return f"{its}: it does not speak bundles of version {bundle.version}; {cure}"
    if mine.userspace and not installed.userspace:
        return f"{its}: it has no userspace tunnel with it, which this fleet needs there; {cure}"
    return True


def _unspoken(facts: Facts, mine: Manifest) -> str | None:
    """Why this release cannot serve the other fleets of the host."""
    for other in facts.report.others if facts.report is not None else ():
        if other.bundle_version is not None and other.bundle_version not in mine.bundle_versions:
            return (
                f"it is in {other.name} too, whose bundle is of version {other.bundle_version}, which the "
                f"agent of this fleet {mine.version} does not speak: apply {other.name} with this one first"
            )
    return None
