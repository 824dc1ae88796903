"""Proves what a node may tell of itself: gateways read it on their event loops."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.engines.wire.fields import WireError
from gateway.engines.wire.state import MAX_ENTRIES, NodeModel, NodeState, state_from_dict, state_to_dict
from workers.pool.status import MemoryReport, ModelStatus
from workers.protocol.messages import ModelKey

KEYS = [ModelKey("m", str(number), "f") for number in range(MAX_ENTRIES + 1)]
MODEL = NodeModel(ModelStatus("warm", 1))


@pytest.mark.parametrize(
    "fields",
    [
        {"models": dict.fromkeys(KEYS, MODEL)},
        {"failures": dict.fromkeys(KEYS, "why")},
        {"memory": MemoryReport(1, 1, dict.fromkeys(KEYS, 1), {})},
        {"running_environments": frozenset(map(str, range(MAX_ENTRIES + 1)))},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_state_has_a_bounded_number_of_entries(fields: dict[str, Any]) -> None:
    """One more than may be is refused, before any of them is read."""
    with pytest.raises(WireError, match=f"more than {MAX_ENTRIES}"):
        state_from_dict(state_to_dict(NodeState(**fields)))


def test_a_node_cannot_have_a_model_loaded_without_end() -> None:
    """The number of nodes that it wants is bounded, and the largest state is read."""
    models = {key: NodeModel(MODEL.status, wanted=2**62) for key in KEYS[:-1]}
    state = state_from_dict(state_to_dict(NodeState(models)))
    assert len(state.models) == MAX_ENTRIES
    assert max(model.wanted for model in state.models.values()) <= 10_000
