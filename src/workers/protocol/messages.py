"""Define the messages between the gateway and a worker: small, frozen, picklable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from workers.protocol.large_body import LargeBody
    from workers.worker_environment import WorkerEnvironment

JSON = "application/json"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
ARROW = "application/vnd.apache.arrow.stream"
OPEN_INFERENCE = "application/x-open-inference"  # internal: over HTTP such a body is JSON or octets
OCTETS = "application/octet-stream"
CONTENT_TYPES = {JSON: JSON, CSV: f"{CSV}; charset=utf-8", PARQUET: PARQUET, ARROW: ARROW}
"""Media type → Content-Type of a response, for all that a client can send and accept; the preferred first."""
MEDIA_TYPES = (*CONTENT_TYPES, OPEN_INFERENCE, OCTETS)
"""The media types of all request and response bodies; a frame has their positions here."""

DEFAULT_DETAILS = 5
"""The invalid cells that a refusal names if the request does not say how many."""
MAX_DETAILS = 100
"""The most invalid cells that a request can have named."""
MAX_COUNTED_PROBLEMS = 1000
"""The most invalid cells that are counted: each takes a hundred times the memory of its value."""

FailureKind = Literal["input", "type", "answer", "model", "load", "batch", "memory"]
"""batch: the answer is too large beside the others of the batch. memory: the gateway has no room for it."""
InputChecks = Literal["strict", "mlflow"]
Batching = Literal["auto", "on", "off"]


class ModelKey(NamedTuple):
    """An identifier of one model version; a version deleted and created anew has another `fingerprint`.

    A tuple, because each request looks it up several times and no other class hashes as fast.
    """

    name: str
    version: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model version whose files are complete on this machine, in `directory`.

    `input_checks` says what validates inputs against the signature: the codec (`strict`: it accepts only
    lossless conversions) or MLflow's functions (`mlflow`). `batching` says whether one call may predict
    rows of several requests: never (`off`), unless a check shows that predictions change (`on`), or only
    if it is proven that they do not (`auto`). `environment` has its libraries; None is the gateway's own.
    `gpu_share` is the thousandths of a GPU that it wants, and `device` the UUID of the only one that its
    workers see; the pool chooses it.
    """

    key: ModelKey
    directory: str
    input_checks: InputChecks = "strict"
    batching: Batching = "auto"
    environment: WorkerEnvironment | None = None
    gpu_share: int = 0
    device: str = ""


class Job(NamedTuple):
    """A request's body as it came, its media type, and the media type of the response.

    Media types are in lower case and without parameters. `json_length` is for bodies of JSON followed by
    binary tensors (Open Inference's extension): the bytes of the JSON. If the input is refused, the failure
    names at most `max_details` cells, 1 to `MAX_DETAILS`. A tuple, as `Reply` is, because thousands are
    created each second.
    """

    body: bytes
    content_type: str = JSON
    accept: str = JSON
    json_length: int | None = None
    max_details: int = DEFAULT_DETAILS


@dataclass(frozen=True, slots=True)
class OpenStream:
    """A request to predict in chunks; later requests name the stream by `stream_id`.

    The reply is the first chunk. The model's generator stays open in the worker until it ends, raises or
    is closed.
    """

    job: Job
    stream_id: int


@dataclass(frozen=True, slots=True)
class NextChunk:
    """A request for the next chunk of an open stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class CloseStream:
    """A request to close the model's generator if it is open. The reply is a chunk without body."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a streamed response as JSON, and the seconds it took. `body` is None if the stream ended.

    `large` is as in `Reply`.
    """

    body: bytes | None
    seconds: float = 0.0
    large: LargeBody | None = None


@dataclass(frozen=True, slots=True)
class InputProblem:
    """One reason why an input is invalid; it never contains the value itself.

    `row` counts from 0. It is None if the reason does not concern a single row.
    """

    row: int | None
    column: str | None
    reason: str


class Reply(NamedTuple):
    """Encoded predictions, and the seconds that decoding, predicting and encoding took.

    `seconds` is that of the whole call if it predicted rows of several requests. If `wrapped`, `body` is
    JSON that becomes the value of `predictions` in the response; if not, `body` is the whole response, as
    for formats other than JSON and for the unified LLM bodies of MLflow. `json_length` is as in `Job`.
    A body of many bytes arrives as `large`, and `body` is empty then. `rows` is the number of rows of the
    call, for one of the replies that share it, and 0 for the others.
    """

    body: bytes
    seconds: float
    wrapped: bool = True
    content_type: str = JSON
    json_length: int | None = None
    large: LargeBody | None = None
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as data.

    `message` is safe for clients. `exception` and `text` are the type and message of the model's own
    exception. `details_total` is the `total` of `InvalidInput`. `log` is for operators only: it may contain
    a traceback, paths and data.
    """

    kind: FailureKind
    message: str
    details: tuple[InputProblem, ...] = ()
    exception: str = ""
    text: str = ""
    log: str = ""
    details_total: int = 0


class RowBatching(NamedTuple):
    """Whether one call predicts rows of several requests, and why or why not, for operators."""

    enabled: bool
    reason: str


ROW_BATCHING_UNKNOWN = RowBatching(False, "the model is not loaded yet")


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A worker's report that its model is loaded.

    `seconds` is what loading took. `preloaded` is False if the fork server could not import what it should
    have, so that every worker must. `streamable` says whether the model can predict in chunks.
    """

    seconds: float
    preloaded: bool = True
    streamable: bool = False
    row_batching: RowBatching = ROW_BATCHING_UNKNOWN


WorkerRequest = Job | OpenStream | NextChunk | CloseStream
WorkerReply = Reply | Chunk | Failure
