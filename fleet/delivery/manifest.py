"""What a release of the agent says of itself, on the host that it is installed on.

Job: the manifest, written into releases and read back from hosts, which are not trusted. What orders two
releases is their version alone: of one version there are many during development, and none is newer.
Called by release, facts and newest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from packaging.version import InvalidVersion, Version

from agent import bundle as bundles
from agent.codec import decode, encode, loads

FILE = "MANIFEST"
_DISTRIBUTION = "fleet-wireguard"


@dataclass(frozen=True)
class Manifest:
    """`version` is that of the fleet that it came from, `bundle_versions` what it speaks.

    `userspace`: whether it can be the userspace device.
    """

    version: str
    bundle_versions: tuple[int, ...]
    userspace: bool

    def __post_init__(self) -> None:
        try:
            Version(self.version)
        except InvalidVersion:
            raise ValueError(f"version: {self.version[:80]!r} is none") from None

    def is_newer(self, other: Manifest) -> bool:
        """Whether it is of a higher version."""
        return Version(self.version) > Version(other.version)


def to_text(manifest: Manifest) -> str:
    """JSON on one line; `from_text` reads it back."""
    return json.dumps(encode(manifest), sort_keys=True) + "\n"


def from_text(text: str) -> Manifest | None:
    """None for what this release cannot read."""
    try:
        return decode(Manifest, loads(text))
    except ValueError:
        return None


@cache
def own(userspace: bool) -> Manifest:
    """That of this fleet's own releases."""
    return Manifest(version(_DISTRIBUTION), (bundles.VERSION,), userspace)
