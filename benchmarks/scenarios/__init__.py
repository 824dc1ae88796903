"""What is measured: each scenario a module with one `run`, in this order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.scenarios import cold, connections, forest, growth, memory, rows, several

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench

SCENARIOS: dict[str, Callable[[Bench], None]] = {
    "connections": connections.run,
    "rows": rows.run,
    "several": several.run,
    "cold": cold.run,
    "forest": forest.run,
    "memory": memory.run,
    "growth": growth.run,
}
LONG: Final = {"growth"}  # left out of `--quick` unless asked for
