"""The parent's handle on one warm process: start, run a batch, notice its death, end it."""

from __future__ import annotations

import asyncio
import errno
import socket
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from workers.errors import LoadFailed, NoMeans, WorkerDied
from workers.process.channel import Channel
from workers.process.forkserver import require_descriptors
from workers.process.watcher import Lifeline
from workers.protocol.messages import Failure, Loaded
from workers.runtime import main, tempdir

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from workers.process.channel import Hear, Heard
    from workers.process.forkserver import Template
    from workers.protocol.messages import Ask, ModelSource

_FORK_SECONDS = 60.0  # which the template takes to import everything, on a slow machine, and to fork
_NOTICE_SECONDS = 0.05  # for what the process had answered before it died to be read
_GOODBYE_SECONDS = 5.0  # for an idle process to end by itself
_NO_THREAD: Final = "can't start new thread"  # CPython has no type of its own for it
_USED_UP: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOBUFS})


class StartFailed(LoadFailed):
    """The process could not be started, or ended as it loaded: perhaps the template died, not the model."""


class Worker:
    """A `ProcessPoolExecutor` of one process that holds one model version.

    The executor loads the model in its initializer, and its one call answers batches until the worker
    is closed. They travel over a socket of the worker's own: through the executor's queues each would
    take three threads in turn, for which the event loop has to wait, and its answer would be unpickled.
    Executors are not shared between workers: one dead process breaks every call of its executor for
    ever, and a running call cannot be cancelled but by killing its process.
    """

    def __init__(self, source: ModelSource, *, template: Template, died: Callable[[Worker], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._tell = died
        self._template = template
        self._channel: Channel | None = None
        self._spawning: asyncio.Future[None] | None = None
        self._folder = tempdir.folder()
        with ExitStack() as undo:
            self._near, self._far = map(undo.enter_context, socket.socketpair())
            receiver, self._sender = map(undo.enter_context, template.context.Pipe(duplex=False))
            self._executor = ProcessPoolExecutor(
                1,
                mp_context=template.context,
                initializer=main.load,
                initargs=(source, self._sender, self._far, self._folder),
            )
            undo.pop_all()
        self._lifeline = Lifeline(receiver, died=self._died)
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
        longer than `seconds` from the fork on, or ends the process; NoMeans where the system has none
        left for it. Cancelling ends the process.
        """
        try:
            worker = cls(source, template=template, died=died)
        except OSError as error:
            raise _not_begun(error, survived=False) from error
        try:
            worker.loaded = await worker._load(starter, seconds=seconds)
        except BaseException:
            await worker.kill()
            raise
        return worker

    @property
    def pid(self) -> int:
        """The process' id, once it is loaded."""
        return self._lifeline.pid or 0

    @property
    def dead(self) -> bool:
        """Whether the process is known to have ended."""
        return self._lifeline.dead.is_set()

    @property
    def reachable(self) -> bool:
        """Whether it can be given a batch: its socket may have ended before its death is known."""
        return self._channel is not None and self._channel.open

    def run(self, asks: Sequence[Ask], hear: Hear) -> None:
        """Give the process a batch; `hear` is called once, later.

        It is told one answer for each, in order, and the seconds that the process took for all of them;
        or WorkerDied where the process ends before it answers.
        """
        if self._channel is None:
            self._loop.call_soon(hear, WorkerDied("The worker's process ended."))
        else:
            self._channel.ask(asks, hear)

    async def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._lifeline.kill()
        await self._lifeline.dead.wait()
        self._hang_up()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def close(self) -> None:
        """Let the process end by itself; kill it where it does not."""
        if self._channel is not None:
            self._channel.close()
        self._executor.shutdown(wait=False, cancel_futures=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._lifeline.dead.wait()
        await self.kill()

    async def _load(self, starter: Executor, *, seconds: float) -> Loaded:
        report: asyncio.Future[Loaded | Failure] = self._loop.create_future()
        report.add_done_callback(_forget)  # whoever is told of the death later finds that nobody waits
        template = self._template.pid
        try:
            await self._forked(await self._begun(starter, report))
            async with asyncio.timeout(seconds):
                told = await report
        except TimeoutError as error:
            raise LoadFailed(f"Loading the model took longer than {seconds:g} s.") from error
        except WorkerDied as error:
            raise StartFailed("The process ended while it loaded the model.") from error
        except (OSError, EOFError, RuntimeError) as error:
            if not _is_of_the_start(error):
                raise
            self._template.starts.note(began=False)
            await asyncio.sleep(_NOTICE_SECONDS)  # a template that dies closes its ends before it is dead
            raise _not_begun(error, survived=self._template.survives(template)) from error
        finally:
            report.cancel()
        if isinstance(told, Failure):
            raise LoadFailed(told.message, log=told.log)
        return told

    async def _forked(self, spawn: asyncio.Future[None]) -> None:
        """Wait for the fork, which the model's time for its load does not begin before."""
        await asyncio.wait([spawn])
        spawn.result()
        self._template.starts.note(began=True)

    async def _begun(
        self, starter: Executor, report: asyncio.Future[Loaded | Failure]
    ) -> asyncio.Future[None]:
        """The start of the process, which closes what tells of the death, so that it must run to its end."""
        try:
            self._channel = await Channel.over(self._near, cut=self._lifeline.kill)
            self._channel.expect(partial(_note, report))
            self._spawning = self._loop.run_in_executor(starter, self._spawn)
        except BaseException:
            self._let_go()
            raise
        self._spawning.add_done_callback(_forget)
        return self._spawning

    def _spawn(self) -> None:
        """Start the process, which blocks until the template has forked."""
        try:
            self._loop.call_soon_threadsafe(self._watch_the_template)
            require_descriptors()
            self._executor.submit(main.serve)
        finally:
            self._let_go()

    def _watch_the_template(self) -> None:
        """End a template that hangs, since nothing else ends the wait for it, whoever waits.

        multiprocessing starts another with the next start; the workers of the old one end with it.
        """
        if (spawn := self._spawning) is not None and not spawn.done():
            hung = self._loop.call_later(_FORK_SECONDS, self._template.kill)
            spawn.add_done_callback(lambda _: hung.cancel())

    def _let_go(self) -> None:
        """Close the child's ends, of which it has its own: ours would hide its death."""
        self._sender.close()
        self._far.close()

    def _died(self) -> None:
        # What had been answered in time is in the socket still. A process that the model started may
        # hold the socket open, so that its end is not waited for.
        self._loop.call_later(_NOTICE_SECONDS, self._bury)
        self._tell(self)

    def _bury(self) -> None:
        """Let go of everything of a process that has died: its pipes would stay open until collected."""
        self._hang_up()
        self._clear_away()
        if self._spawning is None:
            self._end_executor()
        else:  # a start that still runs holds the executor's lock
            self._spawning.add_done_callback(self._end_executor)

    def _clear_away(self) -> None:
        self._loop.run_in_executor(None, tempdir.remove, self._folder)

    def _end_executor(self, _: asyncio.Future[None] | None = None) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._channel.abort()


def _is_of_the_start(error: Exception) -> bool:
    """EOFError: the template died or cannot fork; RuntimeError: the process died, or there is no thread."""
    return not isinstance(error, RuntimeError) or isinstance(error, BrokenProcessPool) or _is_no_thread(error)


def _is_no_thread(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and _NO_THREAD in str(error)


def _not_begun(error: Exception, *, survived: bool) -> StartFailed | NoMeans:
    """What it means that no process could be started; `survived` tells that it is not the template's end."""
    if isinstance(error, OSError) and error.errno in _USED_UP:
        return NoMeans(f"No process could be started for the model: {error.strerror}.")
    if survived or _is_no_thread(error):
        return NoMeans("No process could be started for the model: the system has none left.")
    return StartFailed("No process could be started for the model.", log=repr(error))


def _note(report: asyncio.Future[Loaded | Failure], heard: Heard) -> None:
    """What the process says first: how the load went."""
    if report.done():
        return
    if isinstance(heard, WorkerDied):
        report.set_exception(heard)
        return
    told = heard[0][0] if heard[0] else None
    if isinstance(told, Loaded | Failure):
        report.set_result(told)
    else:
        report.set_exception(WorkerDied("The worker did not say how its load went."))


def _forget(outcome: asyncio.Future[Any]) -> None:
    """Take note of a failure, which whoever waited for it has met; or nobody waits any more."""
    if not outcome.cancelled():
        outcome.exception()
