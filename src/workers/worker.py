"""The parent's handle on one warm process: start, run a batch, notice its death, end it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from workers import child
from workers.errors import LoadFailed, WorkerDied
from workers.lifeline import Lifeline
from workers.messages import Failure, Loaded

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future
    from multiprocessing.connection import Connection

    from workers.messages import Answer, Ask, ModelSource
    from workers.template import Template

T = TypeVar("T")

_NOTICE_SECONDS = 0.5  # for the executor to hand over what the process had answered before it died
_GOODBYE_SECONDS = 5.0  # for an idle process to end by itself


class StartFailed(LoadFailed):
    """The process could not be started, or ended as it loaded: perhaps the template died, not the model."""


class Worker:
    """A `ProcessPoolExecutor` of one process that holds one model version.

    Executors are not shared between workers: one dead process breaks every call of its executor
    for ever, and a running call cannot be cancelled but by killing its process.
    """

    def __init__(self, source: ModelSource, *, template: Template, died: Callable[[Worker], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._tell = died
        self._pending: set[asyncio.Future[Any]] = set()
        receiver, self._sender = template.context.Pipe(duplex=False)
        self._lifeline = Lifeline(receiver, died=self._died)
        self._executor = ProcessPoolExecutor(
            1, mp_context=template.context, initializer=child.load, initargs=(source, self._sender)
        )
        self.loaded = Loaded(0.0)

    @classmethod
    async def start(
        cls,
        source: ModelSource,
        *,
        template: Template,
        starter: Executor,
        seconds: float,
        died: Callable[[Worker], None],
    ) -> Worker:
        """A worker with the model of `source` loaded; `died` is called once when its process ends.

        `starter` is where the start may block. Raises LoadFailed where the load raises, takes
        longer than `seconds`, or ends the process. Cancelling ends the process.
        """
        worker = cls(source, template=template, died=died)
        try:
            worker.loaded = await worker._load(starter, seconds=seconds)
        except BaseException:
            await worker.kill()
            raise
        return worker

    @property
    def dead(self) -> bool:
        """Whether the process is known to have ended."""
        return self._lifeline.dead.is_set()

    async def run(self, jobs: tuple[Ask, ...]) -> tuple[tuple[Answer, ...], float]:
        """One answer per job, in order, and the seconds that the process took for all of them.

        Raises WorkerDied where it ends before it answers.

        Cancelling does not stop the process: it finishes the batch, and the replies are dropped.
        """
        return await self._answer(_submitted(self._executor, jobs))

    async def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._lifeline.kill()
        await self._lifeline.dead.wait()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def close(self) -> None:
        """Let the process end by itself; kill it where it does not."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._lifeline.dead.wait()
        await self.kill()

    async def _load(self, starter: Executor, *, seconds: float) -> Loaded:
        try:
            async with asyncio.timeout(seconds):
                call = await self._answer(starter.submit(_spawned, self._executor, self._sender))
                report = await self._answer(call)
        except TimeoutError as error:
            raise LoadFailed(f"Loading the model took longer than {seconds:g} s.") from error
        except WorkerDied as error:
            raise StartFailed("The process ended while it loaded the model.") from error
        except (OSError, EOFError) as error:  # EOFError: the template died while it forked
            raise StartFailed("No process could be started for the model.", log=repr(error)) from error
        if isinstance(report, Failure):
            raise LoadFailed(report.message, log=report.log)
        return report

    async def _answer(self, call: Future[T]) -> T:
        answer: asyncio.Future[T] = self._loop.create_future()
        self._pending.add(answer)
        call.add_done_callback(partial(self._hand_over, answer))
        try:
            return await answer
        except BrokenProcessPool as error:
            raise WorkerDied("The worker's process ended.") from error
        finally:
            self._pending.discard(answer)

    def _hand_over(self, answer: asyncio.Future[T], call: Future[T]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_settle, answer, call)

    def _died(self) -> None:
        # The executor breaks its calls by itself, unless a process that the model started holds
        # the executor's pipe open; what had been answered in time comes through until then.
        self._loop.call_later(_NOTICE_SECONDS, self._give_up)
        self._tell(self)

    def _give_up(self) -> None:
        for answer in self._pending:
            if not answer.done():
                answer.set_exception(WorkerDied("The worker's process ended."))


def _submitted(executor: ProcessPoolExecutor, jobs: tuple[Ask, ...]) -> Future[tuple[tuple[Answer, ...], float]]:
    try:
        return executor.submit(child.predict, jobs)
    except RuntimeError as error:  # broken (BrokenProcessPool is one) or shut down
        raise WorkerDied("The worker's process ended.") from error


def _spawned(executor: ProcessPoolExecutor, sender: Connection) -> Future[Loaded | Failure]:
    """Start the process, which blocks until the template has forked, and ask it how its load went."""
    try:
        return executor.submit(child.report)
    finally:
        sender.close()  # the child has its own; the parent's would hide the child's death


def _settle(answer: asyncio.Future[T], call: Future[T]) -> None:
    if answer.done():
        return
    if call.cancelled():
        answer.set_exception(WorkerDied("The worker's process was ended."))
    elif error := call.exception():
        answer.set_exception(error)
    else:
        answer.set_result(call.result())
