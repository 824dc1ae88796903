"""`docs/differences-from-mlflow.md` from the table of differences.

    python -m tests.zoo.page

writes it again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.zoo.table import ANSWERS, GIVEN, REFUSED, TAKEN

if TYPE_CHECKING:
    from tests.zoo.differences import Difference

PAGE = Path(__file__).parents[2] / "docs" / "differences-from-mlflow.md"
HEAD = """# Differences from MLflow's scoring server

For the same bytes the gateway answers what `mlflow models serve` answers, and what
`mlflow.pyfunc.load_model(...).predict(...)` gives on the same data, to the last bit, but for what stands
here. `make test-zoo` shows it on a zoo of real models: each body goes to the gateway, to MLflow's own scoring
server and to the model itself, and a difference that is not in these tables, or one in these tables that is
none any more, fails. Arrow and Open Inference, which that server does not have, are held against the model
itself. This page is written from the test's own table (`python -m tests.zoo.page`).

`GATEWAY_INPUT_CHECKS=mlflow`, or a version's tag `gateway.input_checks`, gives MLflow's own reading of
inputs back: the first three tables then do not apply, which the same tests show.

## In every answer

- Beside `predictions` an answer holds `model`: its name, version and source.
- The address names the model and its version; MLflow's server has one model and `/invocations`.
- An error has `error_code`, `message`, `request_id` and, for what does not fit the signature, `details`: the
  first five cells with row, column and reason. MLflow's repeats the caller's data and the signature, and
  often has a stack trace with paths. Where both refuse a body, both answer 400.
"""
PARTS = (
    ("Changed silently there, refused here", REFUSED),
    ("Refused there, taken here", TAKEN),
    ("Taken by both, but the model gets something else", GIVEN),
    ("Answers", ANSWERS),
)


def text() -> str:
    """The whole page."""
    return HEAD + "".join(f"\n## {title}\n\n{_table(rows)}" for title, rows in PARTS)


def _table(rows: tuple[Difference, ...]) -> str:
    lines = ["| what | MLflow | here | why | shown by (model/input) |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.title} | {row.there} | {row.here} | {row.why} | {', '.join(map(_named, row.cases))} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _named(case: str) -> str:
    name, _, forms = case.partition(": ")
    return f"`{name}`" + (f" ({forms.replace(' ', ', ')})" if forms else "")


if __name__ == "__main__":
    PAGE.write_text(text())
