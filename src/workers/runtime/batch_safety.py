"""Whether a model answers each row by itself, shown on rows of its own input example."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.pyfunc import FLAVOR_NAME, MAIN
from mlflow.types.schema import DataType

from workers.codec.inputs.frames import frame
from workers.codec.json import rows
from workers.codec.json.rows import Rows
from workers.protocol.messages import Job, Merging
from workers.runtime import estimator_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow.pyfunc import PyFuncModel

    from workers.codec.signature import Column, Plan
    from workers.protocol.messages import Batching

    Predict = Callable[[Any], Any]

_FLAVORS = frozenset(f"mlflow.{package}" for package in estimator_parts.PACKAGES)
_FUNCTIONS = frozenset({"predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba"})
_EXAMPLE = "serving_input_example.json"
_ROWS = 4
_CLOSE = 1e-9  # relative; linear models differ by up to 3e-13 between BLAS kernels
_NUMBERS: dict[Any, tuple[Any, ...]] = {
    DataType.double: (0.5, -1.25, 3.0, 40.0),
    DataType.float: (0.5, -1.25, 3.0, 40.0),
    DataType.long: (0, 1, 2, 7),
    DataType.integer: (0, 1, 2, 7),
    DataType.boolean: (False, True, True, False),
}


def trial(plan: Plan, directory: str) -> Rows | None:
    """Two rows or more of the input example, or made up where all are numbers; None where neither is."""
    if not rows.mergeable(plan):
        return None
    return _example(plan, directory) or _made_up(plan)


def merging(
    model: PyFuncModel, plan: Plan, *, wish: Batching, tried: Rows | None, predict: Predict
) -> Merging:
    """Whether rows of several requests may share a call, and why (not). Never raises.

    With the wish `auto` that takes a flavor whose estimators work row by row, no part of anybody
    else's making, and equal answers for the rows of a `trial` alone and together; with `on`, the last
    alone, where there are rows to try.
    """
    if wish == "off":
        return Merging(False, "it is switched off")
    if not rows.mergeable(plan):
        return Merging(False, "the signature is not one of named columns of plain types")
    if wish == "auto" and (why := _unpromised(model)) is not None:
        return Merging(False, why)
    if tried is None and wish == "on":
        return Merging(True, "it was asked for, and there are no rows on which to try")
    if tried is None:
        return Merging(False, "it has no input example of two rows or more, on which to try")
    differs = _differs(tried, plan, predict)
    return Merging(differs is None, differs or "each row alone is answered as all together")


def _unpromised(model: PyFuncModel) -> str | None:
    flavor = model.metadata.flavors[FLAVOR_NAME]
    if flavor.get(MAIN) not in _FLAVORS:
        return f"its flavor, {flavor.get(MAIN)}, does not promise to take row by row"
    if flavor.get("predict_fn", "predict") not in _FUNCTIONS:
        return f"{flavor['predict_fn']} does not take row by row"
    found = estimator_parts.foreign(model.get_raw_model())
    return None if found is None else f"it holds {found}, which may look at other rows"


def _example(plan: Plan, directory: str) -> Rows | None:
    """Some rows of the model's input example, where it has two and they fit the signature."""
    try:
        body = (Path(directory) / _EXAMPLE).read_bytes()
    except OSError:
        return None
    found = rows.of(Job(body), plan) if len(body) <= rows.SMALL_BYTES else None
    if found is None or len(found.rows) < 2:
        return None
    return Rows(found.names, found.rows[:_ROWS])


def _made_up(plan: Plan) -> Rows | None:
    """Rows of unlike numbers, where the signature asks for nothing else."""
    columns = plan.columns or ()
    if any(column.type not in _NUMBERS for column in columns):
        return None
    names = tuple(str(column.name) for column in columns)
    return Rows(
        names, [[_cell(column, row + at) for at, column in enumerate(columns)] for row in range(_ROWS)]
    )


def _cell(column: Column, at: int) -> Any:
    choices = _NUMBERS[column.type]
    return choices[at % len(choices)]


def _differs(tried: Rows, plan: Plan, predict: Predict) -> str | None:
    """How the answers to the rows together are not those to each alone; None where they are."""
    try:
        together = predict(frame(rows.joined([tried]), plan))
        if not is_by_row(together, len(tried.rows)):
            return f"its answer to {len(tried.rows)} rows is no array of as many"
        alone = [predict(frame(rows.joined([Rows(tried.names, [row])]), plan)) for row in tried.rows]
    except BaseException as error:  # noqa: BLE001 - a model that fails on its example may work on requests
        return f"it raises {type(error).__name__} on the rows on which it is tried"
    if not all(is_by_row(one, 1) and one.dtype == together.dtype for one in alone):
        return "its answer to a single row is another kind of array"
    return None if _equal(np.concatenate(alone), together) else "rows are answered otherwise in company"


def is_by_row(answer: Any, count: int) -> bool:
    """Whether `answer` is a plain array with one entry for each of `count` rows."""
    return type(answer) is np.ndarray and answer.ndim >= 1 and answer.shape[0] == count


def _equal(alone: np.ndarray[Any, Any], together: np.ndarray[Any, Any]) -> bool:
    if alone.shape != together.shape:
        return False
    if together.dtype.kind in "fc":
        return bool(np.allclose(alone, together, rtol=_CLOSE, atol=0.0, equal_nan=True))
    return bool(np.array_equal(alone, together))
