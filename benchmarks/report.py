"""The report of a run: a page with the goals and the figures, the same as JSON, and a plot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from benchmarks import load, machine, plot
from benchmarks.goals import GOALS
from benchmarks.results import short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Options
    from benchmarks.contenders import Contender
    from benchmarks.results import Results

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found, and what it ran on."""

    results: Results
    options: Options
    contenders: list[Contender]
    busy: str

    def write(self, folder: Path = FOLDER) -> None:
        """Write `latest.md`, `latest.json` and `latest.png`."""
        folder.mkdir(exist_ok=True)
        context = self._context()
        (folder / "latest.md").write_text("\n".join(self._page(context)) + "\n")
        document = {**context, "goals": list(self._goals()), **self.results.document()}
        (folder / "latest.json").write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
        plot.draw(self.results, self.contenders, folder / "latest.png", caption=context["machine"])

    def table(self) -> list[str]:
        """The goals as lines of a table."""
        head = ["| goal | wanted | measured | reached? |", "|---|--:|--:|---|"]
        return head + [
            f"| {goal['goal']} | {goal['wanted']} | {_measured(goal)} | {goal['reached']} |"
            for goal in self._goals()
        ]

    def _goals(self) -> Iterator[dict[str, Any]]:
        for goal in GOALS:
            value = goal.found(self.results)
            reached = "-" if value is None else "yes" if goal.reached(value) else "no"
            yield {
                "goal": goal.text,
                "wanted": goal.wanted,
                "measured": value,
                "unit": goal.unit,
                "reached": reached,
            }

    def _context(self) -> dict[str, Any]:
        extent = "quick" if self.options.quick else "full"
        return {
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "machine": machine.described(),
            "before": self.busy,
            "driver": load.named(),
            "extent": f"{extent}: medians of {self.options.rounds} rounds of {self.options.seconds:g} s",
            "versions": machine.versions(self.contenders),
        }

    def _page(self, context: dict[str, Any]) -> Iterator[str]:
        yield "# The latest measurement"
        yield ""
        yield from (
            f"- {name}: {context[name]}" for name in ("date", "machine", "before", "driver", "extent")
        )
        yield from ("", "## Goals", "", *self.table(), "", "![requests per second](latest.png)", "")
        yield from (
            "## Figures",
            "",
            "| scenario | case | contender | figures | note |",
            "|---|---|---|---|---|",
        )
        yield from (row.cells() for row in self.results.rows)
        yield from ("", *(f"- {note}" for note in self.results.notes), "## Versions", "")
        for contender, versions in context["versions"].items():
            yield f"- {contender}: {', '.join(f'{name} {number}' for name, number in versions.items())}"


def _measured(goal: dict[str, Any]) -> str:
    return "not measured" if goal["measured"] is None else f"{short(goal['measured'])} {goal['unit']}"
