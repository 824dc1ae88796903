"""How many examples the machines run: few and always the same by default, more if they are asked for."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

FACTOR = int(os.environ.get("GATEWAY_TEST_EFFORT", "0"))
"""The factor for the number of examples, which are then random; 0 is the default run."""


def effort(examples: int, steps: int, *, shrinks: bool = True) -> settings:
    """Return settings for a number of examples; without `shrinks`, for slow ones, failures stay as found."""
    phases = [Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if shrinks else [])]
    return settings(
        max_examples=examples * max(FACTOR, 1),
        stateful_step_count=steps,
        derandomize=not FACTOR,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
