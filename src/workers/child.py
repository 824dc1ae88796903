"""All that runs in a worker's process: load one model, then answer batches; never raises.

The parent imports this module for its functions' names alone, so what is heavy is imported where
it is used; in a worker the template has it already.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import random
import signal
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from workers import temporary
from workers.errors import AnswerRefused, InputRefused, ModelFailed, TypeRefused
from workers.generation import Generation
from workers.messages import PID_BYTES, Chunk, Failure, Loaded, Next, Open, Reply, Stop
from workers.service import Service

if TYPE_CHECKING:
    import socket
    from multiprocessing.connection import Connection

    from workers.messages import Answer, Ask, Job, ModelSource
    from workers.model import LoadedModel

_PR_SET_PDEATHSIG = 1
_OOM_SCORE = "500"  # as if it took half of the machine's memory more
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
    _belong_to_the_template()
    _cut_the_executors_way_back()
    _Process.lifeline = lifeline
    _Process.service = Service(end)
    lifeline.send_bytes(os.getpid().to_bytes(PID_BYTES, "little"))
    temporary.keep_in(folder)
    started = perf_counter()
    try:
        from workers.model import LoadedModel  # noqa: PLC0415 - imports mlflow

        _seed()
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
    os._exit(0)  # there is nobody whom to tell the outcome, see `_cut_the_executors_way_back`


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


def _belong_to_the_template() -> None:
    """Die with the template, which dies with the gateway; lead a group of our own.

    The group lets the parent end what the model started, and Ctrl-C on a terminal does not reach it.
    """
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # the template ended before we asked
            os._exit(1)
        _let_the_template_end()
        _go_first()
    # Where the kernel cannot be asked, or forgets, we watch the gateway ourselves.
    threading.Thread(target=_end_with_the_gateway, name="gateway watch", daemon=True).start()


def _go_first() -> None:
    """Where memory runs out, the kernel ends a worker sooner than the gateway or the template."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")


def _let_the_template_end() -> None:
    """Close our copy of the pipe whose end tells the template that the gateway is gone.

    multiprocessing hands it to each child, for children of its own; the template would wait for the
    workers as they wait for it.
    """
    server: Any = forkserver._forkserver  # noqa: SLF001 - nothing public closes it
    descriptor, server._forkserver_alive_fd = server._forkserver_alive_fd, None  # noqa: SLF001 - as above
    if descriptor is not None:
        os.close(descriptor)


def _cut_the_executors_way_back() -> None:
    """Close the pipe of the executor's results before any code of the model runs.

    The gateway unpickles what comes through it, so that whoever can write there can run code in the
    gateway. Answers take the socket, whose bytes are only read.
    """
    frame = sys._getframe()  # noqa: SLF001 - the executor hands its queue to nobody
    while frame.f_back is not None:
        frame = frame.f_back
        if (results := frame.f_locals.get("result_queue")) is not None:
            results._writer.close()  # noqa: SLF001 - nothing public closes it
            return


def _end_with_the_gateway() -> None:
    gateway = multiprocessing.parent_process()
    if gateway is not None:
        gateway.join()
        os.killpg(os.getpgrp(), signal.SIGKILL)


def _seed() -> None:
    """Each fork of the template has its generators' state: two workers must not draw alike."""
    import numpy as np  # noqa: PLC0415 - not for the parent

    random.seed()
    np.random.seed(int.from_bytes(os.urandom(4), "little"))


def _preloaded() -> bool:
    preload = sys.modules.get("workers.preload")
    return bool(getattr(preload, "DONE", False))
