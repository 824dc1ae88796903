"""The values that cross the process boundary: small, frozen, picklable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

JSON = "application/json"
PID_BYTES = 8
"""A worker's first message to its parent is its process id in so many bytes, the lowest first."""
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
ARROW = "application/vnd.apache.arrow.stream"
OPEN_INFERENCE = "application/x-open-inference"  # a name of our own: its bodies travel as JSON or octets
OCTETS = "application/octet-stream"
CONTENT_TYPES = {JSON: JSON, CSV: f"{CSV}; charset=utf-8", PARQUET: PARQUET, ARROW: ARROW}
"""Media type → Content-Type of a response, for all that a client can send and accept; the preferred first."""
MEDIA_TYPES = (*CONTENT_TYPES, OPEN_INFERENCE, OCTETS)
"""The media types of all request and response bodies; a frame has their positions here."""

FailureKind = Literal["input", "type", "answer", "model", "load"]
InputChecks = Literal["strict", "mlflow"]
Batching = Literal["auto", "on", "off"]


class ModelKey(NamedTuple):
    """What makes a model version one: a name made anew has another `fingerprint`.

    A tuple, since each request looks it up several times and no other class hashes as fast.
    """

    name: str
    version: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model version whose files are complete on this machine, in `directory`.

    `input_checks` says who decides what fits the signature: the codec (`strict`: nothing is
    changed that is not lossless) or MLflow's own functions (`mlflow`). `batching` says whether rows
    of several requests may be predicted by one call: never (`off`), where nothing shows that it would
    change an answer (`on`), or only where that is proven harmless (`auto`).
    """

    key: ModelKey
    directory: str
    input_checks: InputChecks = "strict"
    batching: Batching = "auto"


class Job(NamedTuple):
    """One request's body as it came, its media type, and that of the answer it wants.

    Media types are in lower case and without parameters. `json_length` is for bodies that are JSON
    first and binary tensors after it (Open Inference's extension): the length of the JSON in bytes.
    A tuple, as `Reply` is: thousands cross the boundary each second, and no class pickles faster.
    """

    body: bytes
    content_type: str = JSON
    accept: str = JSON
    json_length: int | None = None


@dataclass(frozen=True, slots=True)
class OpenStream:
    """A job whose answer is wanted in chunks; `stream` is the number under which they are asked for.

    Its answer is the first chunk. The model's generator stays open in the worker until it ends,
    raises, or is told to stop.
    """

    job: Job
    stream_id: int


@dataclass(frozen=True, slots=True)
class NextChunk:
    """Asks for the next chunk of an open stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Has the model's generator closed where it still is open; answered by a chunk without body."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of an answer as JSON, and how many seconds it took; `body` is None where there is no more."""

    body: bytes | None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class InputProblem:
    """One reason why a body was refused; never holds the value itself.

    `row` counts from 0 by position, None where the reason is not about a row.
    """

    row: int | None
    column: str | None
    reason: str


class Reply(NamedTuple):
    """The predictions in bytes, and how many seconds decoding, predicting and encoding took.

    A body whose rows were predicted together with those of others took as long as all of them.
    `wrapped` says that `body` is valid JSON that becomes the value of `predictions`; otherwise it is
    the whole answer (MLflow's scoring server answers the unified LLM bodies so, and formats other
    than JSON have no room for more). `json_length` as in `Job`.
    """

    body: bytes
    seconds: float
    wrapped: bool = True
    content_type: str = JSON
    json_length: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as data.

    `message` is safe for a client; `exception` and `text` tell of the model's own exception;
    `log` is for the operator alone (it may hold a trace, paths and data).
    """

    kind: FailureKind
    message: str
    details: tuple[InputProblem, ...] = ()
    exception: str = ""
    text: str = ""
    log: str = ""


class RowBatching(NamedTuple):
    """Whether rows of several requests are predicted by one call, and why (not), for the operator."""

    enabled: bool
    reason: str


ROW_BATCHING_UNKNOWN = RowBatching(False, "nothing is loaded yet")


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A worker's report that its model is loaded.

    `seconds` is what loading took; `preloaded` is False where the template could not import what
    it should have, so that every worker pays for those imports itself. `streamable` says whether
    the model can answer in chunks. `merging` says whether rows of several requests are predicted by
    one call.
    """

    seconds: float
    preloaded: bool = True
    streamable: bool = False
    row_batching: RowBatching = ROW_BATCHING_UNKNOWN


WorkerRequest = Job | OpenStream | NextChunk | CloseStream
WorkerReply = Reply | Chunk | Failure
