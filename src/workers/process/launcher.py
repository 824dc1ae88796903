"""Launch workers: start a process, wait until its model is loaded, and tell apart how that can fail."""

from __future__ import annotations

import asyncio
import errno
from functools import partial
from typing import TYPE_CHECKING, Final

from workers.errors import ModelLoadError, SystemResourcesExhausted, WorkerCrashed, WorkerProtocolError
from workers.process.spawn import Spawn
from workers.protocol.messages import Failure, LoadReport

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from workers.process.channel import BatchOutcome
    from workers.process.forkserver import ForkServer
    from workers.process.worker import ProcessWorker
    from workers.protocol.messages import ModelSource

_NO_THREAD_MESSAGE: Final = "can't start new thread"  # CPython has no exception type of its own for it
_EXHAUSTION_ERRNOS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOBUFS, errno.ETOOMANYREFS}
)


class WorkerStartFailed(ModelLoadError):
    """No process was started, or it ended as it loaded: perhaps because the fork server ended."""


async def launch(
    source: ModelSource,
    *,
    forkserver: ForkServer,
    spawn_executor: Executor,
    seconds: float,
    on_exit: Callable[[ProcessWorker], None],
) -> ProcessWorker:
    """Start a process that loads the model of `source`, and return its handle when the model is loaded.

    `on_exit` is called once, when the process ends. A thread of `spawn_executor` waits for the fork. The
    load may take `seconds`, counted from the fork on. Cancelling kills the process.

    Raises ModelLoadError if loading raises or takes longer; WorkerStartFailed if the process ends, or the
    fork server does; SystemResourcesExhausted if the system has no process, thread or descriptor left;
    EnvironmentBroken and EnvironmentStartTimeout if the model's environment does not start.
    """
    try:
        spawn = Spawn(source, forkserver=forkserver, on_exit=on_exit)
    except OSError as error:
        raise _spawn_error(error) from error
    worker = spawn.worker
    try:
        worker.load_report = await _wait_loaded(spawn, forkserver, spawn_executor, seconds=seconds)
        if worker.dead:
            raise WorkerStartFailed("The process ended as soon as it had loaded the model.")
    except BaseException:
        await worker.kill()
        raise
    return worker


async def _wait_loaded(
    spawn: Spawn, forkserver: ForkServer, spawn_executor: Executor, *, seconds: float
) -> LoadReport:
    report: asyncio.Future[LoadReport | Failure] = asyncio.get_running_loop().create_future()
    try:
        await _fork(spawn, forkserver, spawn_executor, partial(_on_load_report, report))
        async with asyncio.timeout(seconds):
            outcome = await report
    except TimeoutError as error:
        raise ModelLoadError(f"Loading the model took longer than {seconds:g} s.") from error
    except WorkerProtocolError as error:
        raise ModelLoadError(str(error)) from error
    except WorkerCrashed as error:
        raise WorkerStartFailed("The process ended while it loaded the model.") from error
    finally:
        if not report.cancel() and not report.cancelled():
            report.exception()  # mark it as retrieved: the fork may have failed first
    if isinstance(outcome, Failure):
        raise ModelLoadError(outcome.message, log=outcome.log)
    return outcome


async def _fork(
    spawn: Spawn,
    forkserver: ForkServer,
    spawn_executor: Executor,
    on_load_report: Callable[[BatchOutcome], None],
) -> None:
    try:
        await spawn.fork(spawn_executor, on_load_report)
    except (OSError, EOFError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_out_of_threads(error):
            raise
        forkserver.spawn_health.record(succeeded=False)
        raise _spawn_error(error) from error
    forkserver.spawn_health.record(succeeded=True)


def _is_out_of_threads(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and _NO_THREAD_MESSAGE in str(error)


def _spawn_error(error: Exception) -> WorkerStartFailed | SystemResourcesExhausted:
    """Return what to raise for an error of `ForkServer.start`, or of the executor's thread."""
    if isinstance(error, OSError) and error.errno in _EXHAUSTION_ERRNOS:
        return SystemResourcesExhausted(f"No process could be started for the model: {error.strerror}.")
    if _is_out_of_threads(error):
        return SystemResourcesExhausted(
            "No process could be started for the model: the system has no thread left."
        )
    return WorkerStartFailed("No process could be started for the model.", log=repr(error))


def _on_load_report(report: asyncio.Future[LoadReport | Failure], outcome: BatchOutcome) -> None:
    """Resolve `report` with the first message of the process, or with its end."""
    if report.done():
        return
    if isinstance(outcome, WorkerCrashed):
        report.set_exception(outcome)
        return
    message = outcome[0][0] if outcome[0] else None
    if isinstance(message, LoadReport | Failure):
        report.set_result(message)
    else:
        report.set_exception(WorkerCrashed("The worker did not report how its load went."))
