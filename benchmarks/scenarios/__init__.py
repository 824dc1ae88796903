"""What is measured: each scenario a module with one `run`, in this order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.scenarios import cold, connections, forest, growth, memory, rows, several

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench

SCENARIOS: dict[str, Callable[[Bench], None]] = {
    "connections": connections.run,
    "rows": rows.run,
    "forest": forest.run,
    "several": several.run,
    "cold": cold.run,
    "memory": memory.run,
    "growth": growth.run,
}
