"""A model's `predict`, without what need not be done at each call."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.pyfunc import FLAVOR_NAME, MAIN
from mlflow.pyfunc.context import Context, set_prediction_context

from workers.runtime import estimator_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow.pyfunc import PyFuncModel

    from workers.codec.signature import InputSpec


_FEATURE_NAMES_WARNING = "X does not have valid feature names"
_PREDICT_ATTRIBUTE = "_predict_fn"  # the model's own, bound at load; absent in no version of MLflow 2 or 3


class FastPredict:
    """Calls the model as `PyFuncModel.predict` does.

    That function enforces the signature each time: it looks at every column, makes another frame of
    them, and inspects the model's own function (mlflow 3.17, `mlflow/pyfunc/__init__.py`). Where the
    plan is exact, a frame of the codec's is such a frame already, and the rest is known since the load.
    """

    def __init__(self, model: PyFuncModel, spec: InputSpec) -> None:
        self._model = model
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
        """The model's predictions; raises whatever MLflow or the model raises."""
        if not self._direct or params is not None or type(data) is not pd.DataFrame:
            return self._model.predict(data, params=params)
        with set_prediction_context(Context(**self._context)):
            if self._use_arrays:
                return self._predict_array(data.to_numpy())
            return self._predict_fn(data, params=None) if self._takes_params else self._predict_fn(data)

    def _predict_array(self, array: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=_FEATURE_NAMES_WARNING
            )  # the names are the signature's, and right
            return self._predict_fn(array)

    def enable_arrays_if_equal(self, frames: Sequence[pd.DataFrame]) -> None:
        """Give the model arrays from now on, where it answers these frames' to the last bit as the frames."""
        if not self._direct:
            return
        try:
            of_frames = [self(frame) for frame in frames]
            self._use_arrays = True
            self._use_arrays = all(map(_identical, of_frames, [self(frame) for frame in frames]))
        except Exception:  # noqa: BLE001 - a model that fails on its example may work on requests
            self._use_arrays = False


def _identical(of_frame: Any, of_array: Any) -> bool:
    both = type(of_frame) is type(of_array) is np.ndarray
    return both and of_frame.dtype == of_array.dtype and bool(np.array_equal(of_frame, of_array))


def _only_enforces_schema(model: PyFuncModel) -> bool:
    """Whether nothing but the signature's enforcement stands between `predict` and the model."""
    metadata = model.metadata
    return not (metadata.metadata or {}).get("dependencies_schemas") and not (
        metadata._is_type_hint_from_example()  # noqa: SLF001 - as `predict` itself asks
    )


def _takes_params(function: Any) -> bool:
    parameter = inspect.signature(function).parameters.get("params")
    return parameter is not None and parameter.kind is not inspect.Parameter.VAR_KEYWORD


_SKLEARN_FLAVOR = "mlflow.sklearn"


def accepts_arrays(model: PyFuncModel, spec: InputSpec) -> bool:
    """Whether nothing in the model looks at more of a frame than its array.

    scikit-learn looks at a frame's names, which are right by the signature, and at each column's dtype,
    which is that of all; then it takes the array. For one row that is four fifths of its time. So it
    is with its own estimators and pipelines of them; whatever chooses columns by name, hands on
    frames, or is somebody's own is given frames.
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
