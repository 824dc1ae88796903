"""Whether a model answers each row by itself, shown on rows of its own input example."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.pyfunc import FLAVOR_NAME, MAIN
from mlflow.types.schema import DataType

from workers.codec.inputs.frames import to_frame
from workers.codec.json import rows
from workers.codec.json.rows import Rows
from workers.protocol.messages import Job, RowBatching
from workers.runtime import estimator_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow.pyfunc import PyFuncModel

    from workers.codec.signature import Column, InputSpec
    from workers.protocol.messages import Batching

    Predict = Callable[[Any], Any]

_ROW_WISE_FLAVORS = frozenset(f"mlflow.{package}" for package in estimator_parts.ROW_WISE_PACKAGES)
_ROW_WISE_FUNCTIONS = frozenset({"predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba"})
_EXAMPLE_FILE = "serving_input_example.json"
_SAMPLE_ROWS = 4
_RELATIVE_TOLERANCE = 1e-9  # relative; linear models differ by up to 3e-13 between BLAS kernels
_SYNTHETIC_VALUES: dict[Any, tuple[Any, ...]] = {
    DataType.double: (0.5, -1.25, 3.0, 40.0),
    DataType.float: (0.5, -1.25, 3.0, 40.0),
    DataType.long: (0, 1, 2, 7),
    DataType.integer: (0, 1, 2, 7),
    DataType.boolean: (False, True, True, False),
}


def sample_rows(spec: InputSpec, directory: str) -> Rows | None:
    """Two rows or more of the input example, or made up where all are numbers; None where neither is."""
    if not rows.can_merge(spec):
        return None
    return _example_rows(spec, directory) or _synthetic_rows(spec)


def decide_row_batching(
    model: PyFuncModel, spec: InputSpec, *, mode: Batching, sample: Rows | None, predict: Predict
) -> RowBatching:
    """Whether rows of several requests may share a call, and why (not). Never raises.

    With the wish `auto` that takes a flavor whose estimators work row by row, no part of anybody
    else's making, and equal answers for the rows of a `trial` alone and together; with `on`, the last
    alone, where there are rows to try.
    """
    if mode == "off":
        return RowBatching(False, "it is switched off")
    if not rows.can_merge(spec):
        return RowBatching(False, "the signature is not one of named columns of plain types")
    if mode == "auto" and (why := _unsupported_reason(model)) is not None:
        return RowBatching(False, why)
    if sample is None and mode == "on":
        return RowBatching(True, "it was asked for, and there are no rows on which to try")
    if sample is None:
        return RowBatching(False, "it has no input example of two rows or more, on which to try")
    differs = _mismatch_reason(sample, spec, predict)
    return RowBatching(differs is None, differs or "each row alone is answered as all together")


def _unsupported_reason(model: PyFuncModel) -> str | None:
    flavor = model.metadata.flavors[FLAVOR_NAME]
    if flavor.get(MAIN) not in _ROW_WISE_FLAVORS:
        return f"its flavor, {flavor.get(MAIN)}, does not promise to take row by row"
    if flavor.get("predict_fn", "predict") not in _ROW_WISE_FUNCTIONS:
        return f"{flavor['predict_fn']} does not take row by row"
    found = estimator_parts.first_unknown_part(model.get_raw_model())
    return None if found is None else f"it holds {found}, which may look at other rows"


def _example_rows(spec: InputSpec, directory: str) -> Rows | None:
    """Some rows of the model's input example, where it has two and they fit the signature."""
    try:
        body = (Path(directory) / _EXAMPLE_FILE).read_bytes()
    except OSError:
        return None
    found = rows.parse_rows(Job(body), spec) if len(body) <= rows.MAX_MERGED_BODY_BYTES else None
    if found is None or len(found.rows) < 2:
        return None
    return Rows(found.names, found.rows[:_SAMPLE_ROWS])


def _synthetic_rows(spec: InputSpec) -> Rows | None:
    """Rows of unlike numbers, where the signature asks for nothing else."""
    columns = spec.columns or ()
    if any(column.type not in _SYNTHETIC_VALUES for column in columns):
        return None
    names = tuple(str(column.name) for column in columns)
    return Rows(
        names,
        [
            [_synthetic_value(column, row + at) for at, column in enumerate(columns)]
            for row in range(_SAMPLE_ROWS)
        ],
    )


def _synthetic_value(column: Column, at: int) -> Any:
    choices = _SYNTHETIC_VALUES[column.type]
    return choices[at % len(choices)]


def _mismatch_reason(sample: Rows, spec: InputSpec, predict: Predict) -> str | None:
    """How the answers to the rows together are not those to each alone; None where they are."""
    try:
        together = predict(to_frame(rows.concat_rows([sample]), spec))
        if not has_entry_per_row(together, len(sample.rows)):
            return f"its answer to {len(sample.rows)} rows is no array of as many"
        alone = [
            predict(to_frame(rows.concat_rows([Rows(sample.names, [row])]), spec)) for row in sample.rows
        ]
    except BaseException as error:  # noqa: BLE001 - a model that fails on its example may work on requests
        return f"it raises {type(error).__name__} on the rows on which it is tried"
    if not all(has_entry_per_row(one, 1) and one.dtype == together.dtype for one in alone):
        return "its answer to a single row is another kind of array"
    return None if _equal(np.concatenate(alone), together) else "rows are answered otherwise in company"


def has_entry_per_row(predictions: Any, count: int) -> bool:
    """Whether `answer` is a plain array with one entry for each of `count` rows."""
    return type(predictions) is np.ndarray and predictions.ndim >= 1 and predictions.shape[0] == count


def _equal(alone: np.ndarray[Any, Any], together: np.ndarray[Any, Any]) -> bool:
    if alone.shape != together.shape:
        return False
    if together.dtype.kind in "fc":
        return bool(np.allclose(alone, together, rtol=_RELATIVE_TOLERANCE, atol=0.0, equal_nan=True))
    return bool(np.array_equal(alone, together))
