"""How a prediction can fail. The API decides which HTTP status each error becomes.

WorkerError
├── InvalidInput              the model does not take this body            (client)
├── UnsupportedMediaType      the body's media type is unknown             (client)
├── NotAcceptable             the answer has no form in the accepted type  (client)
├── StreamingNotSupported     the model cannot answer in chunks            (client)
├── ModelError                the model's own code raised                  (model)
├── ModelLoadError            the model cannot be loaded here              (model)
│   └── EnvironmentBroken     nothing can run in its Python environment    (model)
├── WorkerCrashed             the worker process ended during the request  (model)
│   └── WorkerProtocolError   ended by the gateway for what it sent        (model)
├── PredictionTimeout         no answer before the deadline                (model)
├── QueueFull                 too many requests wait for this version      (load)
├── AnswerMemoryExceeded      too many large answers are held at once      (load)
├── CapacityExceeded          every model slot is busy or pinned           (load)
├── SystemResourcesExhausted  no descriptor, process or memory is left     (operator)
├── EnvironmentStartTimeout   its Python environment takes too long        (operator)
├── ModelNotLoaded            no worker has this version loaded            (load it first)
│   └── NodeLost              the node that ran the request is gone        (load it elsewhere)
├── NoNodes                   no node is there that could load it          (operator)
├── ModelPinned               the settings keep this version loaded        (operator)
└── PoolClosed                the model is unloaded, or the gateway stops  (operator)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.protocol.messages import InputProblem


class WorkerError(Exception):
    """The base of all. `str(error)` is sent to the client: it never holds a path, data or a traceback."""


class InvalidInput(WorkerError):
    """The body cannot be decoded, or breaks the model's signature.

    The client gets the message and `details`, which names the first invalid cells. `total` is how many
    cells are invalid, or `MAX_COUNTED_PROBLEMS + 1` if there are more than are counted.
    """

    def __init__(
        self, message: str, details: tuple[InputProblem, ...] = (), *, total: int | None = None
    ) -> None:
        super().__init__(message)
        self.details = details
        self.total = len(details) if total is None else total


class UnsupportedMediaType(WorkerError):
    """The codec does not know the body's media type. The client gets the list of types that it can send."""


class NotAcceptable(WorkerError):
    """This answer cannot be encoded in the accepted media type. The client gets a type that works."""


class StreamingNotSupported(WorkerError):
    """The request wants chunks, but the model has no `predict_stream`. The client gets that reason."""


class ModelError(WorkerError):
    """The model's own `predict` raised. The client gets the type name of that exception, `exception`.

    The client gets `text`, the exception's message, only if the operator allows it, because it may hold
    data. `log` is for the log alone.
    """

    def __init__(self, message: str, *, exception: str = "", text: str = "", log: str = "") -> None:
        super().__init__(message)
        self.exception = exception
        self.text = text
        self.log = log


class ModelLoadError(WorkerError):
    """The model cannot be loaded here: its code raised, hung or crashed, or it needs too much memory.

    The client gets the reason. `log` is for the log alone: it may hold a traceback, paths and data.
    """

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class EnvironmentBroken(ModelLoadError):
    """The model's Python environment cannot import what each worker needs, or ends as it starts.

    The client gets the name of the package, if one is known. `digest` identifies the environment.
    """

    def __init__(self, message: str, *, digest: str = "", package: str = "", log: str = "") -> None:
        super().__init__(message, log=log)
        self.digest = digest
        self.package = package


class WorkerCrashed(WorkerError):
    """The worker process ended before it answered. The client gets this if the retry crashed as well."""


class WorkerProtocolError(WorkerCrashed):
    """The worker sent what no worker may send, so the gateway ended it. The client gets what that was.

    The model's code is at fault, so the request does not run again.
    """


class PredictionTimeout(WorkerError):
    """The deadline passed before the answer came. The client gets the limit in seconds."""


class QueueFull(WorkerError):
    """Too many requests wait for this version, or more than can be answered in time.

    The client is asked to try again after half of `wait_seconds`, the estimated time until the waiting
    requests are answered; 0 if there is no estimate.
    """

    def __init__(self, message: str, *, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class AnswerMemoryExceeded(WorkerError):
    """The memory for answers was used up when this one came. The client can try again."""


class CapacityExceeded(WorkerError):
    """No slot or memory is free for one more model. The client gets the reason, and can try again."""


class SystemResourcesExhausted(WorkerError):
    """The system has no descriptor, process or memory left for a worker. The client can try again."""


class EnvironmentStartTimeout(WorkerError):
    """The model's Python environment hung or was slow as it started. The client can try again."""


class ModelNotLoaded(WorkerError):
    """No worker has this version loaded. The client gets this only if loading it did not help."""


class NodeLost(ModelNotLoaded):
    """The link to the node ended before it answered. The client gets this only if no other node helped."""


class NoNodes(WorkerError):
    """No node that could load the version is connected. The client can try again."""


class ModelPinned(WorkerError):
    """The version cannot be unloaded because the settings pin it. The client gets the pinned versions."""


class PoolClosed(WorkerError):
    """The pool, or the model's workers, take no more requests. The client can try again."""
