"""How a prediction can fail; what each means for HTTP is not decided here.

WorkerError
├── InputRefused      the body is not one this model takes      (the caller's)
├── TypeRefused       the body's content type is not known      (the caller's)
├── AnswerRefused     the answer has no form that is asked for    (the caller's)
├── StreamRefused     the model has no answer in chunks         (the caller's)
├── ModelFailed       the model's own code raised               (the model's)
├── LoadFailed        the model cannot be loaded here           (the model's)
├── WorkerDied        the process ended under the job, twice    (the model's)
├── OutOfTime         no answer before the deadline             (the model's)
├── QueueFull         too many jobs wait for this version       (the load's)
├── NoRoom            every place for a model is busy or pinned (the load's)
├── NoMeans           no descriptor or process left for a worker (the operator's)
├── NotLoaded         no worker holds this version now          (load it first)
├── Pinned            the version is kept loaded by a setting   (the operator's)
└── PoolClosed        the model is unloaded, or the gateway ends (the operator's)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.protocol.messages import InputProblem


class WorkerError(Exception):
    """Base of all; `str(error)` is safe to show to a client: no path, no data, no trace."""


class InvalidInput(WorkerError):
    """The body cannot be read, or breaks the model's signature.

    `details` names at most the first five offending cells.
    """

    def __init__(self, message: str, details: tuple[InputProblem, ...] = ()) -> None:
        super().__init__(message)
        self.details = details


class UnsupportedMediaType(WorkerError):
    """The body's content type is none that the codec reads."""


class NotAcceptable(WorkerError):
    """The model's answer cannot be had in the media type that the caller wants; others are named."""


class StreamingNotSupported(WorkerError):
    """An answer in chunks was asked of a model that has none."""


class ModelError(WorkerError):
    """The model's own `predict` raised.

    `exception` is the exception's type name; `text` its own message, which may hold data and is
    shown to a client only where the operator allows it; `log` is for the operator alone.
    """

    def __init__(self, message: str, *, exception: str = "", text: str = "", log: str = "") -> None:
        super().__init__(message)
        self.exception = exception
        self.text = text
        self.log = log


class ModelLoadError(WorkerError):
    """The model cannot be loaded here.

    `log` is for the operator alone: it may hold a trace, paths and data.
    """

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class WorkerCrashed(WorkerError):
    """The worker's process ended before it answered."""


class PredictionTimeout(WorkerError):
    """The deadline passed before the answer came."""


class QueueFull(WorkerError):
    """As many jobs as allowed already wait for this version, or more than can be done in time.

    `seconds` is how long those will take that wait, as far as can be told; 0 where it cannot.
    """

    def __init__(self, message: str, *, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class CapacityExceeded(WorkerError):
    """As many models as allowed are loaded, and each of them is busy or pinned."""


class SystemResourcesExhausted(WorkerError):
    """The system has no descriptor, process or memory left for a worker; the model is not to blame."""


class ModelNotLoaded(WorkerError):
    """No worker holds this version now."""


class ModelPinned(WorkerError):
    """The version is pinned, so that nobody can have it unloaded."""


class PoolClosed(WorkerError):
    """The pool takes no more jobs."""
