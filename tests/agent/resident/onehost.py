"""A host in memory that does whatever converge asks for, as the engine sees one. Called by tests of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from agent.bundle import Bundle
from agent.netns import Place
from agent.operations import Step
from agent.report import Observed
from agent.secret import Secrets
from tests.agent.simulated_host import SimulatedHost


class OneHost:
    """Every MTU fits, and no endpoint has a name."""

    def __init__(self) -> None:
        self.simulated = SimulatedHost()

    def observe(self, bundle: Optional[Bundle], secrets: Secrets, made: Iterable[Place]) -> Observed:
        return self.simulated.observe()

    def execute(self, step: Step, secrets: Secrets) -> None:
        self.simulated.execute(step)

    def fitting(self, bundle: Bundle, observed: Observed) -> dict[str, int]:
        return {}

    def look_up(self, endpoint: str) -> Optional[str]:
        return endpoint
