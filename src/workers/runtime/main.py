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

from workers.errors import AnswerRefused, InputRefused, ModelFailed, TypeRefused
from workers.protocol.messages import PID_BYTES, Chunk, Failure, Loaded, Next, Open, Reply, Stop
from workers.runtime import isolation, tempdir
from workers.runtime.connection import Service
from workers.runtime.stream import Generation

if TYPE_CHECKING:
    import socket
    from multiprocessing.connection import Connection

    from workers.protocol.messages import Answer, Ask, Job, ModelSource
    from workers.runtime.model import LoadedModel

_OF_STREAMS = (Open, Next, Stop)
_TEXT_LIMIT = 2_000
_LOG_LIMIT = 20_000


class _Process:
    """What this process holds for its whole life: the one model, and the pipe that tells of its end.

    `generation` is the stream that is open, where one is.
    """

    model: LoadedModel | None = None
    report: Loaded | Failure = Failure("load", "The worker was asked before it had loaded a model.")
    lifeline: Connection | None = None
    service: Service | None = None
    generation = Generation()


def load(source: ModelSource, lifeline: Connection, end: socket.socket, folder: str) -> None:
    """The executor's initializer: tell the parent our pid, then load; `serve` says how it went.

    `end` is a stream socket, over which batches come; `folder` is made for temporary files.
    """
    isolation.belong_to_the_template()
    isolation.cut_the_executors_way_back()
    _Process.lifeline = lifeline
    _Process.service = Service(end)
    lifeline.send_bytes(os.getpid().to_bytes(PID_BYTES, "little"))
    tempdir.keep_in(folder)
    started = perf_counter()
    try:
        from workers.runtime.model import LoadedModel  # noqa: PLC0415 - imports mlflow

        isolation.seed()
        _Process.model = LoadedModel(source)
    except BaseException as error:  # noqa: BLE001 - whatever a model raises, the parent gets an answer
        _Process.report = Failure("load", _load_trouble(error), log=_trace())
    else:
        seconds = perf_counter() - started
        model = _Process.model
        gc.freeze()  # the model stays: no collection need look at it again
        _Process.report = Loaded(
            seconds, preloaded=_preloaded(), streamable=model.streamable, merging=model.merging
        )


def serve() -> None:
    """The executor's one call: say how the load went, then answer batches until the gateway has no more."""
    service = _Process.service
    if service is not None:
        service.send([_Process.report], 0.0)
        service.run(predict)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # there is nobody whom to tell the outcome, see `isolation.cut_the_executors_way_back`


def predict(jobs: tuple[Ask, ...]) -> tuple[tuple[Answer, ...], float]:
    """One answer per job, in order, whatever happens, and the seconds that all took; no job sees another."""
    started = perf_counter()
    streams = isinstance(jobs[0], _OF_STREAMS)  # what concerns one comes by itself
    answers = tuple(map(_stream, cast("Any", jobs))) if streams else _answers(jobs)
    return answers, perf_counter() - started


def _answers(jobs: tuple[Any, ...]) -> tuple[Answer, ...]:
    made = _together(jobs)
    return tuple(made[number] if number in made else _predict(job) for number, job in enumerate(jobs))


def _together(jobs: tuple[Job, ...]) -> dict[int, Reply]:
    """Those that one call of the model answers, by number; its failures are met by each alone."""
    model = _Process.model
    return model.replies(jobs) if model is not None and len(jobs) > 1 else {}


def _predict(job: Job) -> Reply | Failure:
    started = perf_counter()
    model = _Process.model
    if model is None:
        return Failure("load", "The worker holds no model.")
    try:
        answer = model.answer(job)
    except BaseException as error:  # noqa: BLE001 - SystemExit too: one body must not end the worker
        return _failure(error)
    return Reply(
        answer.body,
        perf_counter() - started,
        wrapped=answer.wrapped,
        content_type=answer.content_type,
        json_length=answer.json_length,
    )


def _stream(ask: Open | Next | Stop) -> Chunk | Failure:
    started = perf_counter()
    model = _Process.model
    if model is None:
        return Failure("load", "The worker holds no model.")
    try:
        chunk = _Process.generation.do(ask, model.stream)
    except BaseException as error:  # noqa: BLE001 - likewise
        return _failure(error)
    return replace(chunk, seconds=perf_counter() - started)


def _failure(error: BaseException) -> Failure:
    if isinstance(error, InputRefused):
        return Failure("input", str(error), details=error.details, log=_trace())
    if isinstance(error, TypeRefused):
        return Failure("type", str(error))
    if isinstance(error, AnswerRefused):
        return Failure("answer", str(error))
    if isinstance(error, ModelFailed):
        return Failure("model", str(error), exception=error.exception)
    name = type(error).__name__
    return Failure(
        "model", f"The model raised {name}.", exception=name, text=_text(error)[:_TEXT_LIMIT], log=_trace()
    )


def _load_trouble(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        return f"The model needs the Python package {package}, which is not installed here."
    return f"Loading the model raised {type(error).__name__}."


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise
        return ""


def _trace() -> str:
    try:
        return traceback.format_exc()[-_LOG_LIMIT:]
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise
        return "(the trace could not be formatted)"


def _preloaded() -> bool:
    preload = sys.modules.get("workers.runtime.preload")
    return bool(getattr(preload, "DONE", False))
