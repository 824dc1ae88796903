"""All that runs in a worker's process: load one model, then answer batches; never raises.

The parent imports this module for its functions' names alone, so what is heavy is imported where
it is used; in a worker the template has it already.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from workers.errors import InvalidInput, ModelError, NotAcceptable, UnsupportedMediaType
from workers.protocol.messages import (
    PID_BYTES,
    Chunk,
    CloseStream,
    Failure,
    LoadReport,
    NextChunk,
    OpenStream,
    Reply,
)
from workers.runtime import isolation, tempdir
from workers.runtime.connection import WorkerConnection
from workers.runtime.stream import StreamSession

if TYPE_CHECKING:
    import socket
    from multiprocessing.connection import Connection

    from workers.protocol.messages import Job, ModelSource, WorkerReply, WorkerRequest
    from workers.runtime.model import LoadedModel

_STREAM_REQUESTS = (OpenStream, NextChunk, CloseStream)
_MAX_TEXT_CHARS = 2_000
_MAX_LOG_CHARS = 20_000


class _WorkerState:
    """What this process holds for its whole life: the one model, and the pipe that tells of its end.

    `generation` is the stream that is open, where one is.
    """

    model: LoadedModel | None = None
    load_report: LoadReport | Failure = Failure("load", "The worker was asked before it had loaded a model.")
    watcher_pipe: Connection | None = None
    connection: WorkerConnection | None = None
    stream_session = StreamSession()


def initialize(source: ModelSource, watcher_pipe: Connection, sock: socket.socket, tempdir_path: str) -> None:
    """The executor's initializer: tell the parent our pid, then load; `serve` says how it went.

    `end` is a stream socket, over which batches come; `folder` is made for temporary files.
    """
    isolation.die_with_parent()
    isolation.close_executor_results()
    _WorkerState.watcher_pipe = watcher_pipe
    _WorkerState.connection = WorkerConnection(sock)
    watcher_pipe.send_bytes(os.getpid().to_bytes(PID_BYTES, "little"))
    tempdir.use(tempdir_path)
    started = perf_counter()
    try:
        from workers.runtime.model import LoadedModel  # noqa: PLC0415 - imports mlflow

        isolation.reseed_random()
        _WorkerState.model = LoadedModel(source)
    except BaseException as error:  # noqa: BLE001 - whatever a model raises, the parent gets an answer
        _WorkerState.load_report = Failure("load", _load_error_message(error), log=_format_traceback())
    else:
        seconds = perf_counter() - started
        model = _WorkerState.model
        gc.freeze()  # the model stays: no collection need look at it again
        _WorkerState.load_report = LoadReport(
            seconds, preloaded=_is_preloaded(), streamable=model.streamable, row_batching=model.row_batching
        )


def serve() -> None:
    """The executor's one call: say how the load went, then answer batches until the gateway has no more."""
    service = _WorkerState.connection
    if service is not None:
        service.send([_WorkerState.load_report], 0.0)
        service.run(handle_batch)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # there is nobody whom to tell the outcome, see `isolation.cut_the_executors_way_back`


def handle_batch(requests: tuple[WorkerRequest, ...]) -> tuple[tuple[WorkerReply, ...], float]:
    """One answer per job, in order, whatever happens, and the seconds that all took; no job sees another."""
    started = perf_counter()
    streams = isinstance(requests[0], _STREAM_REQUESTS)  # what concerns one comes by itself
    answers = tuple(map(_advance_stream, cast("Any", requests))) if streams else _predict_batch(requests)
    return answers, perf_counter() - started


def _predict_batch(jobs: tuple[Any, ...]) -> tuple[WorkerReply, ...]:
    made = _predict_merged(jobs)
    return tuple(made[number] if number in made else _predict(job) for number, job in enumerate(jobs))


def _predict_merged(jobs: tuple[Job, ...]) -> dict[int, Reply]:
    """Those that one call of the model answers, by number; its failures are met by each alone."""
    model = _WorkerState.model
    return model.predict_merged(jobs) if model is not None and len(jobs) > 1 else {}


def _predict(job: Job) -> Reply | Failure:
    started = perf_counter()
    model = _WorkerState.model
    if model is None:
        return Failure("load", "The worker holds no model.")
    try:
        answer = model.predict(job)
    except BaseException as error:  # noqa: BLE001 - SystemExit too: one body must not end the worker
        return _to_failure(error)
    return Reply(
        answer.body,
        perf_counter() - started,
        wrapped=answer.wrapped,
        content_type=answer.content_type,
        json_length=answer.json_length,
    )


def _advance_stream(request: OpenStream | NextChunk | CloseStream) -> Chunk | Failure:
    started = perf_counter()
    model = _WorkerState.model
    if model is None:
        return Failure("load", "The worker holds no model.")
    try:
        chunk = _WorkerState.stream_session.handle(request, model.stream)
    except BaseException as error:  # noqa: BLE001 - likewise
        return _to_failure(error)
    return replace(chunk, seconds=perf_counter() - started)


def _to_failure(error: BaseException) -> Failure:
    if isinstance(error, InvalidInput):
        return Failure("input", str(error), details=error.details, log=_format_traceback())
    if isinstance(error, UnsupportedMediaType):
        return Failure("type", str(error))
    if isinstance(error, NotAcceptable):
        return Failure("answer", str(error))
    if isinstance(error, ModelError):
        return Failure("model", str(error), exception=error.exception)
    name = type(error).__name__
    return Failure(
        "model",
        f"The model raised {name}.",
        exception=name,
        text=_error_text(error)[:_MAX_TEXT_CHARS],
        log=_format_traceback(),
    )


def _load_error_message(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        return f"The model needs the Python package {package}, which is not installed here."
    return f"Loading the model raised {type(error).__name__}."


def _error_text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise
        return ""


def _format_traceback() -> str:
    try:
        return traceback.format_exc()[-_MAX_LOG_CHARS:]
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise
        return "(the trace could not be formatted)"


def _is_preloaded() -> bool:
    preload = sys.modules.get("workers.runtime.preload")
    return bool(getattr(preload, "DONE", False))
