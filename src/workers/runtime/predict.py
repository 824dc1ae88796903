"""Call a model's `predict` without the work that need not be repeated at each call."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.pyfunc import FLAVOR_NAME, MAIN
from mlflow.pyfunc.context import Context, set_prediction_context

from workers.codec.inputs.frames import to_array, to_frame
from workers.runtime import estimator_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow.pyfunc import PyFuncModel

    from workers.codec.inputs.tables import Table
    from workers.codec.signature import InputSpec

_SKLEARN_FLAVOR = "mlflow.sklearn"
_FEATURE_NAMES_WARNING = "X does not have valid feature names"
_PREDICT_ATTRIBUTE = "_predict_fn"  # the model's own function; MLflow 2 and 3 set it at load


class FastPredict:
    """A callable that predicts as `PyFuncModel.predict` does, but faster.

    That function enforces the signature at each call: it checks every column, builds another frame of
    them, and inspects the model's own function (mlflow 3.17, `mlflow/pyfunc/__init__.py`). If
    `spec.matches_mlflow`, the codec has built that very frame, and the rest is known since the load.
    """

    def __init__(self, model: PyFuncModel, spec: InputSpec) -> None:
        self._model = model
        self._spec = spec
        function = getattr(model, _PREDICT_ATTRIBUTE, None)
        self._direct = (
            spec.matches_mlflow
            and spec.params is None
            and function is not None
            and _only_enforces_schema(model)
        )
        self._predict_fn: Any = function
        self._use_arrays = False
        self._takes_params = self._direct and _takes_params(function)
        self._context: dict[str, Any] = {"model_id": model.model_id} if model.model_id else {}

    def __call__(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """Return the model's predictions. Raises what MLflow or the model raises."""
        if not self._direct or params is not None or type(data) is not pd.DataFrame:
            return self._model.predict(data, params=params)
        if self._use_arrays:
            return self._predict_array(data.to_numpy())
        with set_prediction_context(Context(**self._context)):
            return self._predict_fn(data, params=None) if self._takes_params else self._predict_fn(data)

    def predict_table(self, table: Table) -> Any:
        """Return the predictions for the rows of a table. Raises InvalidInput too."""
        array = to_array(table, self._spec) if self._use_arrays else None
        return self(to_frame(table, self._spec)) if array is None else self._predict_array(array)

    def _predict_array(self, array: Any) -> Any:
        with set_prediction_context(Context(**self._context)), warnings.catch_warnings():
            # The names are the signature's, and right.
            warnings.filterwarnings("ignore", message=_FEATURE_NAMES_WARNING)
            return self._predict_fn(array)

    def enable_arrays_if_equal(self, frames: Sequence[pd.DataFrame]) -> None:
        """Pass arrays to the model from now on if it predicts the same, to the last bit, as for `frames`."""
        if not self._direct:
            return
        try:
            from_frames = [self(frame) for frame in frames]
            self._use_arrays = True
            self._use_arrays = all(map(_identical, from_frames, [self(frame) for frame in frames]))
        except Exception:  # noqa: BLE001 - a model that fails on its example may work on requests
            self._use_arrays = False


def _identical(left: Any, right: Any) -> bool:
    are_arrays = type(left) is type(right) is np.ndarray
    return are_arrays and left.dtype == right.dtype and bool(np.array_equal(left, right))


def _only_enforces_schema(model: PyFuncModel) -> bool:
    """Return whether `predict` does nothing but enforce the signature before it calls the model."""
    metadata = model.metadata
    return not (metadata.metadata or {}).get("dependencies_schemas") and not (
        metadata._is_type_hint_from_example()  # noqa: SLF001 - `predict` itself calls it
    )


def _takes_params(function: Any) -> bool:
    parameter = inspect.signature(function).parameters.get("params")
    return parameter is not None and parameter.kind is not inspect.Parameter.VAR_KEYWORD


def accepts_arrays(model: PyFuncModel, spec: InputSpec) -> bool:
    """Return whether nothing in the model uses more of a frame than its array.

    scikit-learn checks a frame's column names, which the signature guarantees, and each column's dtype,
    which is the same for all; then it takes the array. For one row that is four fifths of its time.
    This is true of scikit-learn's estimators and their pipelines. A model that selects columns by name,
    passes frames between its steps or has custom parts gets frames.
    """
    columns = spec.columns or ()
    if model.metadata.flavors[FLAVOR_NAME].get(MAIN) != _SKLEARN_FLAVOR or not spec.all_numeric:
        return False
    if len({column.type for column in columns}) != 1 or not all(column.required for column in columns):
        return False
    estimator = model.get_raw_model()
    names = getattr(estimator, "feature_names_in_", None)
    return (
        names is not None
        and list(names) == list(spec.column_names)
        and estimator_parts.takes_arrays(estimator)
    )
