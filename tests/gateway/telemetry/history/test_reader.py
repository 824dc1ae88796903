"""Proves that a step has what all processes did together since the step before."""

from __future__ import annotations

from gateway.api.handlers.metrics import ALL_METRICS
from gateway.telemetry.history.reader import REFUSALS, StepReader
from gateway.telemetry.history.step import MAX_VERSIONS, Step, decode_steps, encode_steps
from gateway.telemetry.metrics import definitions
from gateway.telemetry.metrics.snapshot import Snapshot
from tests.gateway.telemetry.history.snapshots import cells, process


def test_a_step_of_two_processes() -> None:
    """Counters are differences and gauges are sums; a version's failures count beside its requests."""
    reader = StepReader()
    reader.read({1: process(ok=10), 2: process(ok=20, failed=1)}, time=5, seconds=5.0)
    step = reader.read(
        {
            1: process(ok=13, refused=2, waiting=1, memory=50),
            2: process(ok=24, failed=3, waiting=2, memory=70),
        },
        time=10,
        seconds=5.0,
    )
    assert step.requests == {"2xx": 7, "5xx": 2}
    assert (step.refused, step.waiting) == (2, 3)
    assert (step.base_memory, step.memory_limit, step.model_memory) == (200, 2000, [("a", "1", 120)])
    assert sum(step.latencies) == step.latencies[1] == 7
    (version,) = step.versions
    assert (version.model, version.version, version.requests, version.errors) == ("a", "1", 9, 2)
    assert version.latencies == step.latencies


def test_a_process_that_is_new_or_missing_for_a_step() -> None:
    """What a process counted before it was first seen is in no step, and nothing is lost or counted twice."""
    reader = StepReader()
    reader.read({1: process(ok=10)}, time=5, seconds=5.0)
    assert reader.read({1: process(ok=11), 2: process(ok=500)}, time=10, seconds=5.0).requests == {"2xx": 1}
    assert reader.read({1: process(ok=11)}, time=15, seconds=5.0).requests == {}
    step = reader.read({1: process(ok=11), 2: process(ok=504)}, time=20, seconds=5.0)
    assert step.requests == {"2xx": 4}


def test_processes_that_share_nodes() -> None:
    """What all of them say of the nodes' models is not summed; what each counted is."""
    reader = StepReader()
    reader.read({1: process(), 2: process()}, time=5, seconds=5.0)
    processes = {1: process(ok=3, waiting=2, memory=50), 2: process(ok=4, waiting=2, memory=70)}
    for each in processes.values():
        each.gauges[definitions.NODE_UP.name, ("a",)] = 1.0
    step = reader.read(processes, time=10, seconds=5.0)
    assert (step.requests, step.waiting) == ({"2xx": 7}, 2)
    assert (step.base_memory, step.memory_limit, step.model_memory) == (100, 1000, [("a", "1", 70)])


def test_versions_are_bounded() -> None:
    """The busiest count; the version that the metrics sum others in is none."""
    count = MAX_VERSIONS + 50
    empty = Snapshot({("gateway_predictions", ("m", str(n), "200")): [0] for n in range(count)})
    full = Snapshot({("gateway_predictions", ("m", str(n), "200")): [n] for n in range(count)})
    full.totals["gateway_predictions", ("other", "other", "200")] = [1e6]
    reader = StepReader()
    reader.read({1: empty}, time=5, seconds=5.0)
    versions = reader.read({1: full}, time=10, seconds=5.0).versions
    assert [int(version.version) for version in versions] == list(range(count - 1, 49, -1))


def test_totals_that_shrink() -> None:
    """A series whose counts went to another one counts nothing, rather than less than nothing."""
    name = definitions.MODEL_PREDICTION_DURATION.name
    reader = StepReader()
    reader.read({1: Snapshot({(name, ("a", "1")): cells(0, 9)})}, time=5, seconds=5.0)
    step = reader.read({1: Snapshot({(name, ("a", "1")): cells(0, 4)})}, time=10, seconds=5.0)
    assert step.versions == []


def test_steps_as_bytes() -> None:
    """Decoded, they are equal."""
    reader = StepReader()
    reader.read({1: process()}, time=5, seconds=5.0)
    steps = [reader.read({1: process(ok=3, memory=7)}, time=10, seconds=4.9), Step(15, 5.0)]
    assert decode_steps(encode_steps(steps)) == steps


def test_every_name_that_is_read_exists() -> None:
    """A renamed counter of refusals would leave the history empty."""
    assert {metric.name for metric in ALL_METRICS} >= REFUSALS
