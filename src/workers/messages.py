"""The values that cross the process boundary: small, frozen, picklable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

JSON = "application/json"

FailureKind = Literal["input", "type", "model", "load"]
InputChecks = Literal["strict", "mlflow"]


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What makes a model version one: a name made anew has another `fingerprint`."""

    name: str
    version: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model version whose files are complete on this machine, in `directory`.

    `input_checks` says who decides what fits the signature: the codec (`strict`: nothing is
    changed that is not lossless) or MLflow's own functions (`mlflow`).
    """

    key: ModelKey
    directory: str
    input_checks: InputChecks = "strict"


@dataclass(frozen=True, slots=True)
class Job:
    """One request's body as it came, its media type, and that of the answer it wants.

    Media types are in lower case and without parameters. `json_length` is for bodies that are JSON
    first and binary tensors after it (Open Inference's extension): the length of the JSON in bytes.
    """

    body: bytes
    content_type: str = JSON
    accept: str = JSON
    json_length: int | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One reason why a body was refused; never holds the value itself.

    `row` counts from 0 by position, None where the reason is not about a row.
    """

    row: int | None
    column: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The predictions in bytes, and how many seconds decoding, predicting and encoding took.

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
    details: tuple[Cell, ...] = ()
    exception: str = ""
    text: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A worker's report that its model is loaded.

    `seconds` is what loading took; `preloaded` is False where the template could not import what
    it should have, so that every worker pays for those imports itself.
    """

    seconds: float
    preloaded: bool = True
