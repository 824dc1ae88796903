"""Decide whether a model predicts each row independently, verified on rows of its own input example."""

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
_RELATIVE_TOLERANCE = 1e-9  # linear models differ by up to 3e-13 between BLAS kernels
_SYNTHETIC_VALUES: dict[Any, tuple[Any, ...]] = {
    DataType.double: (0.5, -1.25, 3.0, 40.0),
    DataType.float: (0.5, -1.25, 3.0, 40.0),
    DataType.long: (0, 1, 2, 7),
    DataType.integer: (0, 1, 2, 7),
    DataType.boolean: (False, True, True, False),
}


def sample_rows(spec: InputSpec, directory: str) -> Rows | None:
    """Return two rows or more of the input example, or made-up ones if all columns are numbers, or None."""
    if not rows.can_merge(spec):
        return None
    return _example_rows(spec, directory) or _synthetic_rows(spec)


def decide_row_batching(
    model: PyFuncModel, spec: InputSpec, *, mode: Batching, sample: Rows | None, predict: Predict
) -> RowBatching:
    """Decide whether rows of several requests may share a call, and why or why not. Never raises.

    `auto` needs a flavor whose estimators work row by row, no custom part in the model, and equal
    predictions for the rows of `sample` alone and together. `on` needs only the last, if there is a sample.
    """
    if mode == "off":
        return RowBatching(False, "it is switched off")
    if not rows.can_merge(spec):
        return RowBatching(False, "the signature does not consist of named columns of plain types")
    if mode == "auto" and (why := _unsupported_reason(model)) is not None:
        return RowBatching(False, why)
    if sample is None and mode == "on":
        return RowBatching(True, "it is switched on, and there is no input example to verify it with")
    if sample is None:
        return RowBatching(False, "there is no input example of two rows or more to verify it with")
    mismatch = _mismatch_reason(sample, spec, predict)
    return RowBatching(mismatch is None, mismatch or "each row is predicted alone as it is with others")


def _unsupported_reason(model: PyFuncModel) -> str | None:
    flavor = model.metadata.flavors[FLAVOR_NAME]
    if flavor.get(MAIN) not in _ROW_WISE_FLAVORS:
        return f"its flavor, {flavor.get(MAIN)}, does not promise to predict row by row"
    if flavor.get("predict_fn", "predict") not in _ROW_WISE_FUNCTIONS:
        return f"{flavor['predict_fn']} does not promise to predict row by row"
    part = estimator_parts.first_unknown_part(model.get_raw_model())
    return None if part is None else f"it contains {part}, which may look at other rows"


def _example_rows(spec: InputSpec, directory: str) -> Rows | None:
    """Return rows of the model's input example, or None if it has fewer than two that fit the signature."""
    try:
        body = (Path(directory) / _EXAMPLE_FILE).read_bytes()
    except OSError:
        return None
    example = rows.parse_rows(Job(body), spec) if len(body) <= rows.MAX_MERGED_BODY_BYTES else None
    if example is None or len(example.rows) < 2:
        return None
    return Rows(example.names, example.rows[:_SAMPLE_ROWS])


def _synthetic_rows(spec: InputSpec) -> Rows | None:
    """Return rows of different numbers, or None if a column is not of numbers."""
    columns = spec.columns or ()
    if any(column.type not in _SYNTHETIC_VALUES for column in columns):
        return None
    names = tuple(str(column.name) for column in columns)
    return Rows(
        names,
        [
            [_synthetic_value(column, row + position) for position, column in enumerate(columns)]
            for row in range(_SAMPLE_ROWS)
        ],
    )


def _synthetic_value(column: Column, index: int) -> Any:
    values = _SYNTHETIC_VALUES[column.type]
    return values[index % len(values)]


def _mismatch_reason(sample: Rows, spec: InputSpec, predict: Predict) -> str | None:
    """Return how predictions for the rows together differ from those for each alone; None if they do not."""
    try:
        together = predict(to_frame(rows.concat_rows([sample]), spec))
        if not has_entry_per_row(together, len(sample.rows)):
            return f"its prediction for {len(sample.rows)} rows is not an array of as many entries"
        alone = [
            predict(to_frame(rows.concat_rows([Rows(sample.names, [row])]), spec)) for row in sample.rows
        ]
    except BaseException as error:  # noqa: BLE001 - a model that fails on its example may work on requests
        return f"it raises {type(error).__name__} for the sample rows"
    if not all(has_entry_per_row(single, 1) and single.dtype == together.dtype for single in alone):
        return "its prediction for a single row is another kind of array"
    return None if _equal(np.concatenate(alone), together) else "a row's prediction depends on other rows"


def has_entry_per_row(predictions: Any, count: int) -> bool:
    """Return whether `predictions` is a plain array with one entry for each of `count` rows."""
    return type(predictions) is np.ndarray and predictions.ndim >= 1 and predictions.shape[0] == count


def _equal(alone: np.ndarray[Any, Any], together: np.ndarray[Any, Any]) -> bool:
    if alone.shape != together.shape:
        return False
    if together.dtype.kind in "fc":
        return bool(np.allclose(alone, together, rtol=_RELATIVE_TOLERANCE, atol=0.0, equal_nan=True))
    return bool(np.array_equal(alone, together))
