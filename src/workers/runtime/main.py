"""Run a worker process: load one model, then answer batches; nothing here raises.

The gateway imports this module only to name its functions. So heavy modules are imported where they are
used; whether the fork server has them already depends on its preload.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from workers.protocol.messages import (
    DEFAULT_DETAILS,
    Chunk,
    CloseStream,
    Failure,
    LoadReport,
    NextChunk,
    OpenStream,
    Reply,
)
from workers.runtime import failures, import_isolation, isolation, tempdir
from workers.runtime.connection import WorkerConnection
from workers.runtime.preload.setup import PreloadState
from workers.runtime.stream import StreamSession
from workers.wall.confine import confine
from workers.wall.environment import confined_variables
from workers.wall.policy import WallError

if TYPE_CHECKING:
    import socket

    from workers.protocol.messages import Job, ModelSource, WorkerReply, WorkerRequest
    from workers.runtime.model import LoadedModel
    from workers.wall.policy import WallPolicy

_STREAM_REQUESTS = (OpenStream, NextChunk, CloseStream)


class _WorkerState:
    """What this process holds for its whole life."""

    source: ModelSource | None = None
    start_failure: Failure | None = None
    model: LoadedModel | None = None
    connection: WorkerConnection | None = None
    stream_session = StreamSession()


def initialize(source: ModelSource, sock: socket.socket, tempdir_path: str, wall: WallPolicy) -> None:
    """Prepare to load the model, and confine this process: no code of the model has run before.

    The executor's initializer. Batches come over `sock`, a stream socket. `tempdir_path` is a folder
    that is created for temporary files, the only one that the model may write to.
    """
    isolation.prefer_for_oom_kill()
    if source.device:  # no library that reads it when it is imported was used before
        os.environ["CUDA_VISIBLE_DEVICES"] = source.device
    _WorkerState.source = source
    _WorkerState.connection = WorkerConnection(sock)
    _confine(wall, source.directory, tempdir_path if tempdir.use(tempdir_path) else None)
    isolation.forget_fork_server()
    isolation.watch_gateway(sock)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # so that the gateway logs lines at once


def _confine(wall: WallPolicy, directory: str, writable: str | None) -> None:
    """Leave this process the model's folder to read, and one to write, where libraries have their caches."""
    if wall.mode != "off" and writable is not None:
        os.environ.update(confined_variables(os.environ, temporary=writable, readable=wall.readable))
        os.chdir(writable)  # for what libraries write to the working folder
    try:
        confine(wall, read=[directory], write=[] if writable is None else [writable])
    except WallError as error:
        _WorkerState.start_failure = Failure("load", "The worker could not be confined.", log=str(error))


def serve() -> None:
    """Load the model, report how that went, then answer batches until the gateway closes the socket.

    The executor's only call. It ends the process, since there is no way to return its result: see
    `workers.process.executor_context`. The executor imports nothing of this package afterwards, so its
    modules can be hidden from the model.
    """
    connection, source = _WorkerState.connection, _WorkerState.source
    if connection is not None and source is not None:
        connection.send([_WorkerState.start_failure or _load(source)], 0.0)
        if _WorkerState.start_failure is None:
            connection.run(handle_batch)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the model may have closed or replaced it
            stream.flush()
    os._exit(0)


def _load(source: ModelSource) -> LoadReport | Failure:
    started = perf_counter()
    try:
        from workers.runtime import mlflow_access  # noqa: PLC0415 - imports mlflow
        from workers.runtime.model import LoadedModel  # noqa: PLC0415 - as above

        mlflow_access.install()
        isolation.reseed_random()
        import_isolation.hide_modules(source.directory)
        model = _WorkerState.model = LoadedModel(source)
    except BaseException as error:  # noqa: BLE001 - whatever a model raises, the gateway gets an answer
        return failures.from_load_error(error)
    seconds = perf_counter() - started
    gc.freeze()  # the model stays: no collection need look at it again
    return LoadReport(
        seconds,
        preloaded=PreloadState.complete,
        streamable=model.streamable,
        row_batching=model.row_batching,
    )


def handle_batch(requests: tuple[WorkerRequest, ...]) -> tuple[tuple[WorkerReply, ...], float]:
    """Return one reply per request, in order, and the seconds that all of them took.

    No request affects the reply to another. Stream requests come in batches of one.
    """
    started = perf_counter()
    streams = isinstance(requests[0], _STREAM_REQUESTS)
    replies = tuple(map(_advance_stream, cast("Any", requests))) if streams else _predict_batch(requests)
    return replies, perf_counter() - started


def _predict_batch(jobs: tuple[Any, ...]) -> tuple[WorkerReply, ...]:
    merged = _predict_merged(jobs)
    return tuple(merged[number] if number in merged else _predict(job) for number, job in enumerate(jobs))


def _predict_merged(jobs: tuple[Job, ...]) -> dict[int, Reply]:
    """Return the replies to jobs that one call of the model answers, by number; the others run alone."""
    model = _WorkerState.model
    if model is None or len(jobs) < 2:
        return {}
    try:
        return model.predict_merged(jobs)
    except BaseException:  # noqa: BLE001 - alone, each job gets its own answer
        return {}


def _predict(job: Job) -> Reply | Failure:
    started = perf_counter()
    model = _WorkerState.model
    if model is None:
        return failures.NO_MODEL
    try:
        response = model.predict(job)
    except BaseException as error:  # noqa: BLE001 - SystemExit too: one request must not end the worker
        return failures.from_predict_error(error, max_details=job.max_details)
    return Reply(
        response.body,
        perf_counter() - started,
        wrapped=response.wrapped,
        content_type=response.content_type,
        json_length=response.json_length,
        rows=model.rows,
    )


def _advance_stream(request: OpenStream | NextChunk | CloseStream) -> Chunk | Failure:
    started = perf_counter()
    model = _WorkerState.model
    if model is None:
        return failures.NO_MODEL
    try:
        chunk = _WorkerState.stream_session.handle(request, model.stream)
    except BaseException as error:  # noqa: BLE001 - as above
        details = request.job.max_details if isinstance(request, OpenStream) else DEFAULT_DETAILS
        return failures.from_predict_error(error, max_details=details)
    return replace(chunk, seconds=perf_counter() - started)
