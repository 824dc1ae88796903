"""A model version in this process' memory: a body in, its answer out."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from mlflow.pyfunc import load_model

from workers.codec.answers import write
from workers.codec.bodies import read
from workers.codec.plan import Plan
from workers.errors import InputRefused

if TYPE_CHECKING:
    from workers.codec.request import Request
    from workers.messages import Job, ModelSource

# MLflow's functions that judge the input; an exception from below them is the caller's, one from
# anywhere else is the model's.
_JUDGES = frozenset(
    {
        "_validate_prediction_input",
        "_enforce_params_schema",
        "_validate_data_against_type_hint",
        "_convert_data_to_type_hint",
    }
)


class LoadedModel:
    """A pyfunc model, and the plan by which bodies become its input."""

    def __init__(self, source: ModelSource) -> None:
        """Load the model from `source.directory`; whatever the model's code raises comes through."""
        self._model = load_model(source.directory, suppress_warnings=True)
        self._plan = Plan.of(self._model.metadata, checks=source.input_checks)

    def answer(self, job: Job) -> tuple[bytes, bool]:
        """The predictions as JSON, and whether they still are to be wrapped.

        Raises InputRefused, TypeRefused, ModelFailed, and whatever the model's code raises.
        """
        request = read(job, self._plan)
        return write(self._predict(request)), request.wrapped

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
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_name in _JUDGES for frame, _ in frames)
