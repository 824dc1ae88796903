"""A model's `predict`, without what need not be done at each call."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.pyfunc.context import Context, set_prediction_context

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

    from workers.codec.plan import Plan

_FUNCTION = "_predict_fn"  # the model's own, bound at load; absent in no version of MLflow 2 or 3


class Call:
    """Calls the model as `PyFuncModel.predict` does.

    That function enforces the signature each time: it looks at every column, makes another frame of
    them, and inspects the model's own function (mlflow 3.17, `mlflow/pyfunc/__init__.py`). Where the
    plan is exact, a frame of the codec's is such a frame already, and the rest is known since the load.
    """

    def __init__(self, model: PyFuncModel, plan: Plan) -> None:
        self._model = model
        function = getattr(model, _FUNCTION, None)
        self._direct = plan.exact and plan.params is None and function is not None and _is_plain(model)
        self._function: Any = function
        self._takes_params = self._direct and _takes_params(function)
        self._context: dict[str, Any] = {"model_id": model.model_id} if model.model_id else {}

    def __call__(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """The model's predictions; raises whatever MLflow or the model raises."""
        if not self._direct or params is not None or type(data) is not pd.DataFrame:
            return self._model.predict(data, params=params)
        with set_prediction_context(Context(**self._context)):
            return self._function(data, params=None) if self._takes_params else self._function(data)


def _is_plain(model: PyFuncModel) -> bool:
    """Whether nothing but the signature's enforcement stands between `predict` and the model."""
    metadata = model.metadata
    return not (metadata.metadata or {}).get("dependencies_schemas") and not (
        metadata._is_type_hint_from_example()  # noqa: SLF001 - as `predict` itself asks
    )


def _takes_params(function: Any) -> bool:
    parameter = inspect.signature(function).parameters.get("params")
    return parameter is not None and parameter.kind is not inspect.Parameter.VAR_KEYWORD
