"""What was measured: rows of figures, found again by scenario, case and contender."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PER_SECOND = "req/s"
ROWS_PER_SECOND = "rows/s"
P50 = "p50 ms"
P99 = "p99 ms"
SPREAD = "% spread"


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one contender in one case of a scenario."""

    scenario: str
    case: str
    contender: str
    figures: Mapping[str, float]
    failed: int = 0
    doubt: str = ""

    def cells(self) -> str:
        """The row as a line of a table."""
        figures = ", ".join(f"{short(value)} {name}" for name, value in self.figures.items())
        notes = [f"{self.failed} requests failed"] * (self.failed > 0) + [self.doubt] * bool(self.doubt)
        return f"| {self.scenario} | {self.case} | {self.contender} | {figures} | {'; '.join(notes)} |"


@dataclass(slots=True)
class Results:
    """All rows so far, printed as they come."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Keep a row."""
        self.rows.append(row)
        say(row.cells())

    def remark(self, note: str) -> None:
        """Keep a remark for the end of the report."""
        self.notes.append(note)
        say(note)

    def value(self, scenario: str, case: str, contender: str, figure: str) -> float | None:
        """A figure, or None where it was not measured."""
        for row in self.rows:
            if (row.scenario, row.case, row.contender) == (scenario, case, contender):
                return row.figures.get(figure)
        return None

    @property
    def failed(self) -> list[Row]:
        """The rows in which requests failed."""
        return [row for row in self.rows if row.failed]

    def document(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {"rows": [asdict(row) for row in self.rows], "notes": self.notes}


def short(value: float) -> str:
    """A number with three or four digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
