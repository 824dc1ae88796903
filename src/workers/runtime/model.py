"""Hold a loaded model version: decode a body, predict, encode the response."""

from __future__ import annotations

import gc
import os
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, cast

from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.pyfunc import FLAVOR_NAME, load_model

from workers.codec.formats import decode, encode
from workers.codec.inputs.frames import to_frame
from workers.codec.json import answer as json_answer
from workers.codec.json.rows import concat_rows
from workers.codec.signature import InputSpec
from workers.errors import ModelLoadError
from workers.runtime import batch_safety, predict
from workers.runtime.input_judges import as_invalid_input
from workers.runtime.predict import FastPredict
from workers.runtime.row_batching import RowBatcher

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from mlflow.pyfunc import PyFuncModel

    from workers.codec.request import DecodedRequest, EncodedResponse
    from workers.protocol.messages import Job, ModelSource, Reply

_GC_PAUSE_MIN_BYTES = 64 * 1024
# Without it MLflow does not parse datetimes and bytes for models with type hints. Its server sets it too.
_SERVING_VARIABLE = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"


class LoadedModel:
    """A pyfunc model with the specification of its input.

    `rows` is the number of rows of the last call of `predict`, for metrics.
    """

    rows = 0

    def __init__(self, source: ModelSource) -> None:
        """Load the model from `source.directory`. Exceptions of the model's code are not caught."""
        os.environ[_SERVING_VARIABLE] = "true"
        self._model = _load(source.directory)
        self._spec = InputSpec.from_model(self._model.metadata, input_checks=source.input_checks)
        self._fast_predict = FastPredict(self._model, self._spec)
        sample = batch_safety.sample_rows(self._spec, source.directory)
        if sample is not None and predict.accepts_arrays(self._model, self._spec):
            frame = to_frame(concat_rows([sample]), self._spec)
            self._fast_predict.enable_arrays_if_equal([frame, frame[:1]])
        self.row_batching = batch_safety.decide_row_batching(
            self._model, self._spec, mode=source.batching, sample=sample, predict=self._fast_predict
        )
        self._row_batcher = (
            RowBatcher(self._spec, self._fast_predict.predict_table) if self.row_batching.enabled else None
        )

    @property
    def streamable(self) -> bool:
        """Whether the model has a `predict_stream`."""
        return bool(self._model.metadata.flavors[FLAVOR_NAME].get("streamable"))

    def stream(self, job: Job) -> Generator[bytes, None, None]:
        """Yield what `predict_stream` yields, as JSON. Call it only if the model is `streamable`.

        Raises what `predict` raises. Closing this generator closes the model's.
        """
        request = decode(job, self._spec)
        generator = self._model.predict_stream(request.data, params=request.params)
        with closing(cast("Generator[object, None, None]", generator)) as chunks:
            while True:
                try:
                    chunk = next(chunks)
                except StopIteration:
                    return
                except Exception as error:  # MLflow validates the input with the first chunk
                    if (invalid := as_invalid_input(error)) is not None:
                        raise invalid from error
                    raise
                yield json_answer.to_json(chunk)

    def predict(self, job: Job) -> EncodedResponse:
        """Return the predictions in the format that the job accepts.

        Raises InvalidInput, UnsupportedMediaType, NotAcceptable, ModelError, and what the model raises.
        """
        with _gc_paused(len(job.body)):
            request = decode(job, self._spec)
        self.rows = _count_rows(request.data)
        return encode(self._call_model(request), request, job)

    def predict_merged(self, jobs: Sequence[Job]) -> dict[int, Reply]:
        """Return the replies to those jobs that can share a call, by number; `predict` serves the others."""
        return self._row_batcher.predict(jobs) if self._row_batcher is not None else {}

    def _call_model(self, request: DecodedRequest) -> Any:
        try:
            return self._fast_predict(request.data, request.params)
        except Exception as error:
            if (invalid := as_invalid_input(error)) is not None:
                raise invalid from error
            raise


def _count_rows(data: object) -> int:
    """Return the rows of an input: the length of a table, a tensor, a list, or a tensor in a dictionary."""
    if isinstance(data, dict):
        data = next(iter(data.values()), None)
    if isinstance(data, str | bytes):
        return 1
    try:
        return len(data)  # type: ignore[arg-type] # what has no length has one row
    except TypeError:
        return 1


def _load(directory: str) -> PyFuncModel:
    try:
        return load_model(directory, suppress_warnings=True)
    except MlflowException as error:
        flavors = _flavors(directory)
        if FLAVOR_NAME in flavors:
            raise
        names = f"only has {', '.join(flavors)}" if flavors else "has no flavor at all"
        raise ModelLoadError(
            f"The model has no {FLAVOR_NAME} flavor, which serving needs; it {names}. Log it with one."
        ) from error


def _flavors(directory: str) -> list[str]:
    """Return the names of the flavors of the model in `directory`."""
    try:
        return sorted(map(str, Model.load(directory).flavors))
    except Exception:  # noqa: BLE001 - the caller's error tells what is wrong with the file
        return [FLAVOR_NAME]


@contextmanager
def _gc_paused(size: int) -> Iterator[None]:
    """Pause the garbage collector while a large body is decoded.

    It would inspect a million new lists again and again, of which none is garbage.
    """
    if size < _GC_PAUSE_MIN_BYTES or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
