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

For the same bytes, the gateway gives the same answer as `mlflow models serve`, to the last bit. It is also
the answer of `mlflow.pyfunc.load_model(...).predict(...)` for the same data. This page lists all exceptions.

`make test-zoo` proves it with many kinds of real models. Each body goes to the gateway, to MLflow's scoring
server and to the model itself. The test fails if a difference is missing in these tables, or if a listed one
does not occur. MLflow's server has no Arrow and no Open Inference, so these are compared with the model
itself. The test's own tables generate this page (`python -m tests.zoo.page`).

With `GATEWAY_INPUT_CHECKS=mlflow`, or a version's tag `gateway.input_checks`, the gateway reads inputs as
MLflow does. The first three tables then do not apply; the same tests prove it. A tag is read when the
version is loaded: to apply a change, unload it (`POST /v2/repository/models/{name}/unload`).

## In every answer

- Besides `predictions`, an answer has `model`: its name, version and source. At `…/invocations` it has not.
- The path names the model and its version. MLflow's server has one model and the path `/invocations`. Its
  paths are below each version's address: [how to come from it](from-mlflow-models-serve.md).
- An error has `error_code`, `message` and `request_id`. If a body does not fit the signature, `details` has
  the first wrong cells with row, column and reason: five, or as many as `?details=` says, up to 100.
  `details_total` is how many are wrong; if more than 1000 are, `details_total_exact` is false. MLflow's error
  repeats the client's data and the signature, and often has a stack trace with paths. If both reject a body,
  both answer 400.
"""
PROOF_HEAD = """
## Shown by

The cases of the test for each difference, as model/input, with the forms of the body if not in all of them.

"""
PARTS = (
    ("Changed silently by MLflow, rejected by the gateway", REFUSED),
    ("Rejected by MLflow, accepted by the gateway", TAKEN),
    ("Accepted by both, but the model gets something else", GIVEN),
    ("Answers", ANSWERS),
)


def text() -> str:
    """The whole page."""
    tables = "".join(f"\n## {title}\n\n{_table(rows)}" for title, rows in PARTS)
    proofs = "".join(_proof(row) for _, rows in PARTS for row in rows)
    return f"{HEAD}{tables}{PROOF_HEAD}{proofs}"


def _table(rows: tuple[Difference, ...]) -> str:
    lines = ["| what | MLflow | gateway | why |", "|---|---|---|---|"]
    lines += [f"| {row.title} | {row.there} | {row.here} | {row.why} |" for row in rows]
    return "\n".join(lines) + "\n"


def _proof(row: Difference) -> str:
    return f"- **{row.title}**: {', '.join(map(_named, row.cases))}\n"


def _named(case: str) -> str:
    name, _, forms = case.partition(": ")
    return f"`{name}`" + (f" ({forms.replace(' ', ', ')})" if forms else "")


if __name__ == "__main__":
    PAGE.write_text(text())
