"""A model version in this process' memory: a body in, its answer out."""

from __future__ import annotations

import os
import traceback
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from mlflow.pyfunc import load_model

from workers.codec.bodies import read, write
from workers.codec.plan import Plan
from workers.errors import InputRefused

if TYPE_CHECKING:
    from workers.codec.request import Answer, Request
    from workers.messages import Job, ModelSource

# MLflow's functions that judge the input; an exception from below them is the caller's, one from
# anywhere else is the model's.
_JUDGES = frozenset(
    {"_validate_prediction_input", "_enforce_params_schema", "_validate_model_input", "_convert_input"}
)
_HINTS = "mlflow.pyfunc.utils.data_validation"  # its wrapper of `predict` raises what its judge found
# Without it MLflow does not read datetimes and bytes for models with type hints; its server sets it too.
_SERVING = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"


class LoadedModel:
    """A pyfunc model, and the plan by which bodies become its input."""

    def __init__(self, source: ModelSource) -> None:
        """Load the model from `source.directory`; whatever the model's code raises comes through."""
        os.environ[_SERVING] = "true"
        self._model = load_model(source.directory, suppress_warnings=True)
        self._plan = Plan.of(self._model.metadata, checks=source.input_checks)

    def answer(self, job: Job) -> Answer:
        """The predictions in the form that the job wants.

        Raises InputRefused, TypeRefused, ModelFailed, and whatever the model's code raises.
        """
        request = read(job, self._plan)
        return write(self._predict(request), request, job)

    def _predict(self, request: Request) -> Any:
        try:
            return self._model.predict(request.data, params=request.params)
        except MlflowException as error:
            if _judged(error):
                raise InputRefused(
                    "The input does not fit the model's signature; GET the version to see it."
                ) from error
            raise


def _judged(error: MlflowException) -> bool:
    """Whether MLflow refused the input before any code of the model's ran."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][1:]
    modules = [str(frame.f_globals.get("__name__")) for frame in frames]
    names = [frame.f_code.co_name for frame in frames]
    outer = len(list(takewhile(lambda module: module.startswith("mlflow."), modules)))
    return not _JUDGES.isdisjoint(names[:outer]) or (outer == len(frames) and modules[-1:] == [_HINTS])
