"""What the machines over real processes have in common."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, Any

import psutil
from hypothesis.stateful import RuleBasedStateMachine

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_SECONDS = 90.0


class RealMachine(RuleBasedStateMachine):
    """A machine that runs coroutines on a loop of its own, and checks that no descriptor is left open."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.loop = self.runner.get_loop()
        self.descriptors_before = 0

    def run(self, coroutine: Any) -> Any:
        """Return the result of a coroutine."""
        return self.runner.run(asyncio.wait_for(coroutine, TIMEOUT_SECONDS))

    def count_descriptors(self) -> None:
        """Record the number of open descriptors."""
        gc.collect()
        self.descriptors_before = psutil.Process().num_fds()

    def wait_until_cleaned_up(self) -> None:
        """Wait until no task and no more descriptors than before are left; threads may close them late."""

        def is_clean() -> bool:
            gc.collect()
            return not asyncio.all_tasks(self.loop) and psutil.Process().num_fds() <= self.descriptors_before

        self.wait_until(is_clean)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Run the loop until `condition` holds."""
        ends_at = time.monotonic() + TIMEOUT_SECONDS
        while not condition():
            assert time.monotonic() < ends_at, "it was not cleaned up"
            self.runner.run(asyncio.sleep(0.01))
