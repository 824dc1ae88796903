"""How much the machines run: little and always the same by default, else as much as is asked for."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

TIMES = int(os.environ.get("GATEWAY_TEST_EFFORT", "0"))
"""So many times the examples, each drawn anew; 0 is the default run."""


def effort(examples: int, steps: int, *, shrinks: bool = True) -> settings:
    """So many examples of so many steps; where each takes seconds a failure is told as it was found."""
    phases = [Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if shrinks else [])]
    return settings(
        max_examples=examples * max(TIMES, 1),
        stateful_step_count=steps,
        derandomize=not TIMES,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
