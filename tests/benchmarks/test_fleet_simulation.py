"""Proves that the simulation of a fleet adds up, and that its table is the one of the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.fleet_simulation import BUSY, MACHINES, MODELS, deaths, main, place, play

PAGE = Path(__file__).parents[2] / "docs/fleet.md"


@pytest.mark.parametrize("by_load", [False, True])
def test_every_request_and_every_model_is_somewhere(*, by_load: bool) -> None:
    """Nothing is counted twice: the mean of all nodes is 1, however requests are split."""
    placement = place(10, 0.5, by_load=by_load)
    assert sum(placement.work()) == pytest.approx(10)
    assert sum(play(placement).work) == pytest.approx(10)
    assert (sum(placement.held()) == MODELS) is not by_load


def test_a_death_loads_what_the_node_held() -> None:
    """Without a second copy for all, no model of the dead node is left out."""
    placement = place(10, 0.5, by_load=True)
    assert deaths(placement) == placement.held()


def test_a_model_on_every_node_is_loaded_nowhere() -> None:
    """There is no other node for it."""
    assert deaths(place(1, 0.5, by_load=True)) == [0]


@pytest.mark.slow
def test_the_documentation_has_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A change of the placement shows in the page; the picture is drawn beside it."""
    picture = tmp_path / "fleet.svg"
    assert main(["--picture", str(picture)]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 2 * len(MACHINES) * len(BUSY)
    assert picture.read_text().startswith("<?xml")
    assert [row for row in rows if row not in PAGE.read_text().splitlines()] == []
