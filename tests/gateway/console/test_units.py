"""Proves the small parts of the pages: texts, rows, signatures and snapshots."""

from __future__ import annotations

import pytest

from gateway.console import processes, rows, signature, text
from gateway.console.rendering import script_json
from gateway.console.traffic import NONE
from gateway.domain.models import Model
from gateway.telemetry import process_snapshot
from gateway.telemetry.process_snapshot import ProcessSnapshot, State, VersionState


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (61 * 2**20, "61 MiB"),
        (6.4 * 2**30, "6.4 GiB"),
        (None, text.DASH),
    ],
)
def test_bytes_have_a_unit_that_people_read(value: float | None, shown: str) -> None:
    """Binary units, one digit below ten."""
    assert text.format_bytes(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0091, "9.1 ms"), (0.092, "92 ms"), (7.5, "7.5 s"), (12.3, "12 s"), (None, text.DASH)],
)
def test_times_are_in_milliseconds(seconds: float | None, shown: str) -> None:
    """Below one second."""
    assert text.format_milliseconds(seconds) == shown


@pytest.mark.parametrize(("share", "shown"), [(0, "0"), (0.004, "< 1 %"), (0.04, "4 %"), (1, "100 %")])
def test_no_error_is_rounded_away(share: float, shown: str) -> None:
    """A few errors among many requests are not nought."""
    assert text.format_share(share) == shown


def test_json_cannot_end_its_script() -> None:
    """What a stranger wrote into an example stays data."""
    assert "<" not in script_json({"x": "</script><script>alert(1)</script>", "y": "a&b"})


@pytest.mark.parametrize(
    ("states", "state", "shown"),
    [
        ([], "cold", "cold"),
        ([("7", "warm"), ("9", "warm")], "warm", "warm v7, v9"),
        ([("7", "warm"), ("9", "loading")], "loading", "loading v9, v7 warm"),
        ([("5", "failed"), ("4", "warm")], "failed", "v5 failed"),
        ([(str(number), "warm") for number in range(1, 8)], "warm", "warm v1, v2, v3, v4 +3"),
    ],
)
def test_a_model_has_one_state(states: list[tuple[str, State]], state: str, shown: str) -> None:
    """A failure is what a person must see first; then what is on its way."""
    versions = [VersionState("m", version, each, reason="no shap") for version, each in states]
    found = rows.describe_state(versions)
    assert found[:2] == (state, shown)


def test_a_row_of_an_unknown_best_is_honest() -> None:
    """What MLflow has not yet told is neither none nor wrong."""
    model = Model("m", "registry", aliases={f"a{number}": "1" for number in range(5)})
    row = rows.build_row(model, None, [], NONE)
    assert row.best == "…"
    assert row.aliases == "@a0 v1, @a1 v1, @a2 v1 +2"


def test_processes_are_seen_as_one() -> None:
    """Whichever process is asked, figures are sums and the best state counts."""
    one = ProcessSnapshot(1, {}, (VersionState("m", "1", "warm", workers=1, memory_bytes=5),))
    other = ProcessSnapshot(
        2, {}, (VersionState("m", "1", "warm", workers=2, memory_bytes=7), VersionState("n", "1", "failed"))
    )
    for snapshots in ([one, other], [other, one]):
        found = processes.by_model(map(process_snapshot.decode, (each.encode() for each in snapshots)))
        assert found["m"] == [VersionState("m", "1", "warm", workers=3, memory_bytes=12)]
        assert found["n"][0].state == "failed"


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ({"type": "double", "name": "a"}, "double"),
        (
            {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 28, 28]}},
            "float32 tensor (any, 28, 28)",
        ),
        ({"type": "array", "items": {"type": "string"}}, "list of string"),
        ({"type": "object", "properties": {"a": {"type": "long"}}}, "object {a: long}"),
        ({"type": "map", "values": {"type": "double"}}, "map of double"),
        ({"type": "array", "items": 7}, "array"),
        ({}, "None"),
    ],
)
def test_types_are_in_words(spec: dict[object, object], shown: str) -> None:
    """Also those that a stranger wrote wrong."""
    assert signature.columns([spec])[0].type == shown


def test_a_hostile_signature_is_bounded() -> None:
    """Depth, number and length are cut; what is no column is left out."""
    deep: dict[object, object] = {"type": "string"}
    for _ in range(1000):
        deep = {"type": "array", "items": deep}
    found = signature.columns([deep, 7, None, {"name": "x" * 9999, "type": ["y" * 9999]}])
    assert len(found) == 2
    assert all(len(column.name) <= 80 and len(column.type) <= 200 for column in found)
    assert signature.columns("no list") == []
