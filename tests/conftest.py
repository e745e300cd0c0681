"""Property tests have no deadline: how long an example takes depends on what else the machine does."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("fleet", deadline=None)
settings.load_profile("fleet")
