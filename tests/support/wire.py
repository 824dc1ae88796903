"""Hypothesis strategies for what a gateway and a node tell each other."""

from __future__ import annotations

from datetime import UTC, datetime

import hypothesis.strategies as st

from gateway.domain.models import ModelVersion
from gateway.engines.wire.control import (
    Done,
    Failed,
    GatewayHello,
    Load,
    ModelNumber,
    NodeHello,
    Owners,
    Pins,
    Probe,
    State,
    Unload,
)
from gateway.engines.wire.state import NodeEnvironment, NodeModel, NodeState
from tests.support.frames import BODIES, SECONDS
from workers.devices.inventory import DeviceMemory
from workers.errors import QueueFull
from workers.pool.status import DeviceReport, DeviceUse, MemoryReport, ModelStatus
from workers.protocol.messages import MEDIA_TYPES, ModelKey, Reply, RowBatching

TEXTS = st.text(max_size=12)
COUNTS = st.integers(0, 2**63 - 1)
IDS = st.integers(0, 2**64 - 1)
KEYS = st.builds(ModelKey, TEXTS, TEXTS, TEXTS)
_TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds

VERSIONS = st.builds(
    ModelVersion,
    TEXTS,
    TEXTS,
    st.sampled_from(["registry", "experiment"]),
    TEXTS,
    TEXTS,
    TEXTS,
    run_id=TEXTS,
    model_id=TEXTS,
    logged_name=TEXTS,
    stage=TEXTS,
    description=TEXTS,
    aliases=st.lists(TEXTS, max_size=3).map(tuple),
    tags=st.dictionaries(TEXTS, TEXTS, max_size=3),
    metrics=st.dictionaries(TEXTS, st.floats(allow_nan=False), max_size=3),
    created=st.none() | _TIMES,
    updated=st.none() | _TIMES,
)

_STATUSES = st.builds(
    ModelStatus,
    st.sampled_from(["loading", "warm"]),
    COUNTS,
    reason=st.none() | TEXTS,
    row_batching=st.none() | st.builds(RowBatching, st.booleans(), TEXTS),
    device=st.none() | st.builds(DeviceUse, TEXTS, COUNTS, st.none() | COUNTS),
    waiting=COUNTS,
    running=COUNTS,
)
_DEVICES = st.builds(DeviceReport, TEXTS, TEXTS, COUNTS, st.none() | st.builds(DeviceMemory, COUNTS, COUNTS))
_ENVIRONMENTS = st.builds(
    NodeEnvironment,
    st.sampled_from(["shared", "building", "ready", "failed"]),
    TEXTS,
    TEXTS,
    TEXTS,
    TEXTS,
)
_MEMORY = st.builds(
    MemoryReport,
    st.none() | COUNTS,
    COUNTS,
    st.dictionaries(KEYS, COUNTS, max_size=2),
    st.dictionaries(TEXTS, COUNTS, max_size=2),
)
STATES = st.builds(
    NodeState,
    models=st.dictionaries(
        KEYS, st.builds(NodeModel, _STATUSES, st.integers(1, 10_000), st.booleans(), SECONDS), max_size=2
    ),
    failures=st.dictionaries(KEYS, TEXTS, max_size=2),
    memory=_MEMORY,
    devices=st.lists(_DEVICES, max_size=2).map(tuple),
    environments=st.dictionaries(KEYS, _ENVIRONMENTS, max_size=2),
    running_environments=st.frozensets(TEXTS, max_size=2),
    environments_bytes=COUNTS,
    spawn_failures=COUNTS,
    spawn_failing_seconds=SECONDS,
    draining=st.booleans(),
)
_OWNERS = st.lists(st.none() | TEXTS, max_size=3).map(tuple)
FROM_GATEWAY = st.one_of(
    st.builds(GatewayHello, TEXTS, COUNTS, TEXTS),
    st.builds(ModelNumber, st.integers(0, 2**32 - 1), KEYS),
    st.builds(Load, COUNTS, VERSIONS, _OWNERS),
    st.builds(Owners, COUNTS, _OWNERS),
    st.builds(Unload, COUNTS, st.lists(KEYS, max_size=3).map(tuple)),
    st.builds(Pins, st.lists(KEYS, max_size=3).map(tuple)),
    st.builds(Probe, COUNTS),
)
FROM_NODE = st.one_of(
    st.builds(NodeHello, TEXTS, COUNTS, TEXTS, st.none() | COUNTS, COUNTS, COUNTS, COUNTS),
    st.builds(Done, COUNTS, SECONDS),
    st.builds(State, STATES),
)
FAILED = st.builds(Failed, COUNTS, st.builds(QueueFull, TEXTS, wait_seconds=SECONDS))
ANSWERS = st.builds(
    Reply,
    BODIES,
    SECONDS,
    st.booleans(),
    st.sampled_from(MEDIA_TYPES),
    st.none(),
    st.none(),
    st.integers(0, 2**32 - 1),
)
