"""Proves what the rows of a fleet's nodes say, whichever gateway process is asked."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.console import nodes, processes
from gateway.console.text import DASH
from gateway.engines.node_report import NodeReport
from gateway.telemetry import process_snapshot
from gateway.telemetry.process_snapshot import ProcessSnapshot, VersionState
from tests.support.reported_nodes import REASON, node

FIGURES = {"budget_bytes": 1000.0, "base_bytes": 100.0}


def snapshot(number: int, *reports: NodeReport, memory: int = 0) -> ProcessSnapshot:
    """Return what another process reads of one that is connected to these nodes."""
    version = VersionState("m", "1", "warm", workers=2, memory_bytes=memory, nodes=("a",))
    return process_snapshot.decode(ProcessSnapshot(number, FIGURES, (version,), reports).encode())


def test_a_node_in_words() -> None:
    """Its state with a reason, its models, its memory as a part of its budget, and the time of its state."""
    connected, lost = nodes.node_rows([snapshot(1, node("b", "lost", in_flight=1), node("a"))])
    assert (connected["name"], connected["address"], connected["state_text"]) == ("a", "a:8443", "connected")
    assert (connected["models"], connected["memory"], connected["used"]) == (
        "3",
        "300 MiB of 2.0 GiB",
        "0.146",
    )
    assert (connected["in_flight"], connected["round_trip"], connected["version"]) == ("2", "0.4 ms", "0.2.0")
    assert (lost["state_text"], lost["reason"], lost["in_flight"]) == ("lost", REASON, "1")
    assert {lost[name] for name in ("models", "memory", "version", "round_trip")} == {DASH}
    assert (lost["used"], lost["since"]) == ("", "2026-11-28 14:02")


def test_today_has_no_date() -> None:
    """The time of day is enough, in UTC."""
    now = datetime.now(UTC)
    shown = nodes.node_rows([snapshot(1, node("a"))]), nodes.node_rows([snapshot(1, _since(now))])
    assert [rows[0]["since"] for rows in shown] == ["2026-11-28 14:02", now.strftime("%H:%M:%S")]


def _since(moment: datetime) -> NodeReport:
    return NodeReport("a", "a:1", "connecting", moment)


def test_a_node_that_shuts_down_is_still_connected() -> None:
    """It answers what it has."""
    (row,) = nodes.node_rows([snapshot(1, node("a", draining=True))])
    assert (row["state"], row["state_text"]) == ("connected", "connected, shutting down")


def test_processes_that_differ() -> None:
    """The worst state is shown, with how many processes see it; requests are those of all of them."""
    for order in (1, -1):
        seen = [snapshot(1, node("a")), snapshot(2, node("a", "lost")), snapshot(3, node("a"))][::order]
        (row,) = nodes.node_rows(seen)
        assert (row["state"], row["state_text"]) == ("lost", "lost for 1 of 3 processes")
        assert (row["reason"], row["models"], row["in_flight"]) == (REASON, "3", "4")
        assert nodes.describe_nodes(seen) == "✕ 0 of 1 node connected"
        assert not nodes.none_alive(seen[::2] if order == 1 else seen[:1])
        assert nodes.none_alive(seen)


@pytest.mark.parametrize(
    ("states", "shown"),
    [([], ""), (["connected"], "● 1 node connected"), (["connected", "refused"], "✕ 1 of 2 nodes connected")],
)
def test_the_line_at_the_top(states: list[str], shown: str) -> None:
    """Nothing where there is no fleet."""
    reports = [node(f"n{number}", state) for number, state in enumerate(states)]  # type: ignore[arg-type]  # a parameter
    assert nodes.describe_nodes([snapshot(1, *reports)]) == shown


def test_many_nodes() -> None:
    """The table is bounded; what is not connected is in it."""
    reports = [node(f"n{number:04}", "connected" if number < 995 else "lost") for number in range(1000)]
    rows = nodes.live_rows([snapshot(1, *reports)])
    assert len(rows) == nodes.MAX_ROWS
    assert sum(row[0] == "lost" for row in rows.values()) == 5
    assert nodes.count_nodes([snapshot(1, *reports)]) == (995, 1000)


def test_hostile_texts_are_cut() -> None:
    """A node names itself, and its version."""
    report = node("x" * 10_000, product_version="v" * 10_000, reason="r" * 10_000)
    (row,) = nodes.node_rows([snapshot(1, report)])
    assert max(map(len, row.values())) <= 253


def test_models_of_a_fleet_are_counted_once() -> None:
    """Two processes say the same of the same models; those of processes with models of their own add up."""
    shared = [snapshot(number, node("a"), memory=300) for number in (1, 2)]
    own = [snapshot(number, memory=300) for number in (1, 2)]
    for seen, workers, memory, budget in ((shared, 2, 300, 1000), (own, 4, 600, 2000)):
        (version,) = processes.by_model(seen)["m"]
        assert (version.workers, version.memory_bytes, version.nodes) == (workers, memory, ("a",))
        assert processes.total(seen, "budget_bytes") == budget
