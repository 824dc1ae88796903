"""A model version in this process' memory: a body in, its answer out."""

from __future__ import annotations

import gc
import os
import traceback
from contextlib import closing, contextmanager
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING, Any, cast

from mlflow.exceptions import MlflowException
from mlflow.pyfunc import FLAVOR_NAME, load_model

from workers.codec.formats import read, write
from workers.codec.inputs.frames import frame
from workers.codec.json import answer as json_answer
from workers.codec.json.rows import joined
from workers.codec.signature import Plan
from workers.errors import InputRefused
from workers.runtime import batch_safety, predict
from workers.runtime.predict import Call
from workers.runtime.row_batching import Merger

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from types import FrameType

    from workers.codec.request import Answer, Request
    from workers.protocol.messages import Job, ModelSource, Reply

# MLflow's functions that judge the input; an exception from below them is the caller's, one from
# anywhere else is the model's.
_JUDGES = frozenset(
    {"_validate_prediction_input", "_enforce_params_schema", "_validate_model_input", "_convert_input"}
)
_HINTS = "mlflow.pyfunc.utils.data_validation"  # its wrapper of `predict` raises what its judge found
_OURS = "workers."
_LARGE_BYTES = 64 * 1024
_STREAMER = "_predict_stream"  # raises by itself only where the input is not a single one
# Without it MLflow does not read datetimes and bytes for models with type hints; its server sets it too.
_SERVING = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"


class LoadedModel:
    """A pyfunc model, and the plan by which bodies become its input."""

    def __init__(self, source: ModelSource) -> None:
        """Load the model from `source.directory`; whatever the model's code raises comes through."""
        os.environ[_SERVING] = "true"
        self._model = load_model(source.directory, suppress_warnings=True)
        self._plan = Plan.of(self._model.metadata, checks=source.input_checks)
        self._call = Call(self._model, self._plan)
        tried = batch_safety.trial(self._plan, source.directory)
        if tried is not None and predict.fit(self._model, self._plan):
            whole = frame(joined([tried]), self._plan)
            self._call.try_arrays([whole, whole[:1]])
        self.merging = batch_safety.merging(
            self._model, self._plan, wish=source.batching, tried=tried, predict=self._call
        )
        self._merger = Merger(self._plan, self._call) if self.merging.on else None

    @property
    def streamable(self) -> bool:
        """Whether the model can answer in chunks."""
        return bool(self._model.metadata.flavors[FLAVOR_NAME].get("streamable"))

    def stream(self, job: Job) -> Generator[bytes, None, None]:
        """What `predict_stream` yields, each as JSON; only where the model is `streamable`.

        Raises as `answer` does. To close it closes the model's own generator.
        """
        request = read(job, self._plan)
        made = self._model.predict_stream(request.data, params=request.params)
        with closing(cast("Generator[object, None, None]", made)) as chunks:
            while True:
                try:
                    chunk = next(chunks)
                except StopIteration:
                    return
                except MlflowException as error:  # MLflow checks the input when the first chunk is asked for
                    if (refusal := _refusal(error)) is not None:
                        raise refusal from error
                    raise
                yield json_answer.write(chunk)

    def answer(self, job: Job) -> Answer:
        """The predictions in the form that the job wants.

        Raises InputRefused, TypeRefused, ModelFailed, and whatever the model's code raises.
        """
        with _undisturbed(len(job.body)):
            request = read(job, self._plan)
        return write(self._predict(request), request, job)

    def replies(self, jobs: Sequence[Job]) -> dict[int, Reply]:
        """The replies to those of several jobs that can share a call, by number; `answer` is for the rest."""
        return self._merger.replies(jobs) if self._merger is not None else {}

    def _predict(self, request: Request) -> Any:
        try:
            return self._call(request.data, request.params)
        except MlflowException as error:
            if (refusal := _refusal(error)) is not None:
                raise refusal from error
            raise


def _refusal(error: MlflowException) -> InputRefused | None:
    """What to tell the caller where MLflow refused the input before any code of the model's ran."""
    walked = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    frames = list(dropwhile(lambda frame: _module(frame).startswith(_OURS), walked))
    modules = list(map(_module, frames))
    names = [frame.f_code.co_name for frame in frames]
    outer = len(list(takewhile(lambda module: module.startswith("mlflow."), modules)))
    raised_by_mlflow = outer == len(frames)
    if raised_by_mlflow and names[-1:] == [_STREAMER]:
        return InputRefused("A stream is the answer to a single input; the body has several or none.")
    if not _JUDGES.isdisjoint(names[:outer]) or (raised_by_mlflow and modules[-1:] == [_HINTS]):
        return InputRefused("The input does not fit the model's signature; GET the version to see it.")
    return None


@contextmanager
def _undisturbed(size: int) -> Iterator[None]:
    """Leave the garbage collector out of the reading of a large body.

    It would look at all of a million new lists again and again, of which none is garbage.
    """
    if size < _LARGE_BYTES or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
