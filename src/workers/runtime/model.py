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

from workers.codec.formats import decode, encode
from workers.codec.inputs.frames import to_frame
from workers.codec.json import answer as json_answer
from workers.codec.json.rows import concat_rows
from workers.codec.signature import InputSpec
from workers.errors import InvalidInput
from workers.runtime import batch_safety, predict
from workers.runtime.predict import FastPredict
from workers.runtime.row_batching import RowBatcher

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from types import FrameType

    from workers.codec.request import DecodedRequest, EncodedResponse
    from workers.protocol.messages import Job, ModelSource, Reply

# MLflow's functions that judge the input; an exception from below them is the caller's, one from
# anywhere else is the model's.
_MLFLOW_VALIDATORS = frozenset(
    {"_validate_prediction_input", "_enforce_params_schema", "_validate_model_input", "_convert_input"}
)
_TYPE_HINT_MODULE = (
    "mlflow.pyfunc.utils.data_validation"  # its wrapper of `predict` raises what its judge found
)
_OWN_PACKAGE = "workers."
_GC_PAUSE_MIN_BYTES = 64 * 1024
_STREAM_FUNCTION = "_predict_stream"  # raises by itself only where the input is not a single one
# Without it MLflow does not read datetimes and bytes for models with type hints; its server sets it too.
_SERVING_VARIABLE = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"


class LoadedModel:
    """A pyfunc model, and the plan by which bodies become its input."""

    def __init__(self, source: ModelSource) -> None:
        """Load the model from `source.directory`; whatever the model's code raises comes through."""
        os.environ[_SERVING_VARIABLE] = "true"
        self._model = load_model(source.directory, suppress_warnings=True)
        self._spec = InputSpec.from_model(self._model.metadata, input_checks=source.input_checks)
        self._fast_predict = FastPredict(self._model, self._spec)
        tried = batch_safety.sample_rows(self._spec, source.directory)
        if tried is not None and predict.accepts_arrays(self._model, self._spec):
            whole = to_frame(concat_rows([tried]), self._spec)
            self._fast_predict.enable_arrays_if_equal([whole, whole[:1]])
        self.row_batching = batch_safety.decide_row_batching(
            self._model, self._spec, mode=source.batching, sample=tried, predict=self._fast_predict
        )
        self._row_batcher = RowBatcher(self._spec, self._fast_predict) if self.row_batching.enabled else None

    @property
    def streamable(self) -> bool:
        """Whether the model can answer in chunks."""
        return bool(self._model.metadata.flavors[FLAVOR_NAME].get("streamable"))

    def stream(self, job: Job) -> Generator[bytes, None, None]:
        """What `predict_stream` yields, each as JSON; only where the model is `streamable`.

        Raises as `answer` does. To close it closes the model's own generator.
        """
        request = decode(job, self._spec)
        made = self._model.predict_stream(request.data, params=request.params)
        with closing(cast("Generator[object, None, None]", made)) as chunks:
            while True:
                try:
                    chunk = next(chunks)
                except StopIteration:
                    return
                except MlflowException as error:  # MLflow checks the input when the first chunk is asked for
                    if (refusal := _as_invalid_input(error)) is not None:
                        raise refusal from error
                    raise
                yield json_answer.to_json(chunk)

    def predict(self, job: Job) -> EncodedResponse:
        """The predictions in the form that the job wants.

        Raises InputRefused, TypeRefused, ModelFailed, and whatever the model's code raises.
        """
        with _gc_paused(len(job.body)):
            request = decode(job, self._spec)
        return encode(self._call_model(request), request, job)

    def predict_merged(self, jobs: Sequence[Job]) -> dict[int, Reply]:
        """The replies to those of several jobs that can share a call, by number; `answer` is for the rest."""
        return self._row_batcher.predict(jobs) if self._row_batcher is not None else {}

    def _call_model(self, request: DecodedRequest) -> Any:
        try:
            return self._fast_predict(request.data, request.params)
        except MlflowException as error:
            if (refusal := _as_invalid_input(error)) is not None:
                raise refusal from error
            raise


def _as_invalid_input(error: MlflowException) -> InvalidInput | None:
    """What to tell the caller where MLflow refused the input before any code of the model's ran."""
    walked = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    frames = list(dropwhile(lambda frame: _module_name(frame).startswith(_OWN_PACKAGE), walked))
    modules = list(map(_module_name, frames))
    names = [frame.f_code.co_name for frame in frames]
    outer = len(list(takewhile(lambda module: module.startswith("mlflow."), modules)))
    raised_by_mlflow = outer == len(frames)
    if raised_by_mlflow and names[-1:] == [_STREAM_FUNCTION]:
        return InvalidInput("A stream is the answer to a single input; the body has several or none.")
    if not _MLFLOW_VALIDATORS.isdisjoint(names[:outer]) or (
        raised_by_mlflow and modules[-1:] == [_TYPE_HINT_MODULE]
    ):
        return InvalidInput("The input does not fit the model's signature; GET the version to see it.")
    return None


@contextmanager
def _gc_paused(size: int) -> Iterator[None]:
    """Leave the garbage collector out of the reading of a large body.

    It would look at all of a million new lists again and again, of which none is garbage.
    """
    if size < _GC_PAUSE_MIN_BYTES or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _module_name(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
