"""The counters of a fleet."""

from __future__ import annotations

from typing import Final

from workers.metrics import CounterSpec

NODE_LOSSES: Final = CounterSpec("node_losses", "Links to a node that ended, whatever the reason.", ("node",))
NODE_RETRIES: Final = CounterSpec(
    "node_retries", "Requests whose node was lost, and that ran again on another one."
)
NODE_SPILLS: Final = CounterSpec(
    "node_spills", "Loads that a node had no room for, and that went to the next one.", ("node",)
)
NODE_MOVES: Final = CounterSpec(
    "node_moves",
    "Loads in the background by outcome (loaded or failed): on a node that became the first for a model, or"
    " on one more for a busy model.",
    ("outcome",),
)
FLEET_COUNTER_SPECS: Final = (NODE_LOSSES, NODE_RETRIES, NODE_SPILLS, NODE_MOVES)
