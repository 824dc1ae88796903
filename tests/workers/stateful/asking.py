"""What was asked of workers that a test plays, and what may have come of it."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workers.errors import ModelError, PredictionTimeout, WorkerCrashed
from workers.protocol.messages import Chunk, CloseStream, Failure, Job, NextChunk, OpenStream, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.workers.stateful.scripted import Process
    from workers.prediction_stream import PredictionStream
    from workers.protocol.messages import WorkerReply, WorkerRequest

OTHER = "The worker answered something else than it was asked."


@dataclass(eq=False)
class Asked:
    """A caller: what it asked, when, and how it may be told no."""

    name: bytes
    task: asyncio.Task[Any]
    since: float
    allowed: set[type[BaseException]] = field(default_factory=set)
    begun: bool = False
    checked: bool = False


@dataclass(eq=False)
class Reading:
    """A stream that its caller has, and the one chunk that is being asked for."""

    name: bytes
    stream: PredictionStream
    read: int = 0
    asked: Asked | None = None
    closed: bool = False


class Ledger:
    """What each process was given and has said, by the name that travels in a job's body."""

    def __init__(self) -> None:
        self.said: defaultdict[bytes, list[Any]] = defaultdict(list)
        self.guilt: Counter[bytes] = Counter()
        self.guilt_alone: Counter[bytes] = Counter()
        self.suspicion: Counter[bytes] = Counter()
        self.blamed: set[bytes] = set()
        self.names: dict[int, bytes] = {}
        self.chunks: dict[int, int] = {}

    def name(self, ask: WorkerRequest) -> bytes:
        """Whose it is."""
        if isinstance(ask, Job):
            return ask.body
        if isinstance(ask, OpenStream):
            assert isinstance(ask.job, Job)
            self.names[ask.stream_id] = ask.job.body
        return self.names[ask.stream_id]

    def belongs(self, name: bytes, process: Process) -> bool:
        """Whether a job is the model's: its name says whose it is, where there are several."""
        return process.source.key.name == "played" or name.startswith(process.source.key.name.encode())

    def taken(self, process: Process) -> tuple[WorkerRequest, ...] | None:
        """What the process runs; nothing that was given to it may break in on its stream."""
        fresh = process.running is None
        asks = process.take()
        if asks is None or not fresh:
            return asks
        for ask in asks:
            name = self.name(ask)
            assert self.belongs(name, process), "another model's job"
            if isinstance(ask, Job | OpenStream):
                assert process.stream is None, "a job came between two chunks"
                assert self.guilt_alone[name] < 2, "two workers died of it, and a third is given it"
                assert not self.guilt[name] or len(asks) == 1, "a worker died of it, and it has company"
            if isinstance(ask, OpenStream):
                assert len(asks) == 1
                process.stream, self.chunks[ask.stream_id] = ask.stream_id, 0
        return asks

    def answers(self, process: Process, asks: Sequence[WorkerRequest], how: str) -> list[WorkerReply]:
        """One for each, as `how` says of the first; the others are answered well."""
        made = [self._answer(process, ask, how if number == 0 else "well") for number, ask in enumerate(asks)]
        if how == "few":
            made.pop()
            process.stream = None
            for ask in asks:
                self.said[self.name(ask)].append(f"The worker answered {len(made)} of {len(asks)} requests.")
        return made

    def _answer(self, process: Process, ask: WorkerRequest, how: str) -> WorkerReply:
        name = self.name(ask)
        if isinstance(ask, Job):
            if how == "fails":
                return self._refuse(name)
            self.said[name].append(body := b"answer to " + name)
            if how == "wrong":
                self.said[name].append(OTHER)
                return Chunk(body)
            return Reply(body, 0.01)
        return self._of_stream(process, ask, how)

    def _of_stream(
        self, process: Process, ask: OpenStream | NextChunk | CloseStream, how: str
    ) -> WorkerReply:
        name = self.name(ask)
        mine = process.stream == ask.stream_id
        if isinstance(ask, CloseStream) or not mine or how == "ends":
            process.stream = None if mine else process.stream
            self.said[name].append(None)
            return Chunk(None)
        if how in {"fails", "wrong"}:
            process.stream = None
            self.said[name].append(OTHER)
            return self._refuse(name) if how == "fails" else Reply(name, 0.01)
        number, self.chunks[ask.stream_id] = self.chunks[ask.stream_id], self.chunks[ask.stream_id] + 1
        self.said[name].append(body := b"%s.%d" % (name, number))
        return Chunk(body)

    def _refuse(self, name: bytes) -> Failure:
        self.said[name].append(text := f"It refuses {name.decode()}.")
        return Failure("model", text)

    def died(self, process: Process, fresh: Sequence[WorkerRequest]) -> None:
        """A process ends: what it ran is guilty.

        `fresh` was answered a moment ago, and perhaps is not heard.
        """
        alone = len(process.running or ()) == 1
        for ask in process.running or ():
            self.guilt[self.name(ask)] += 1
            self.guilt_alone[self.name(ask)] += alone
        for name in {self.name(ask) for ask in (*fresh, *(process.running or ()))}:
            self.suspicion[name] += 1

    def cut(self, process: Process, *, doubt: bool) -> None:
        """Its socket ends: what lies there unread is innocent, unless the gateway is in `doubt`.

        It is where it was given several batches, and where it had to end the socket itself.
        """
        for ask in process.unread() if doubt else ():
            self.suspicion[self.name(ask)] += 1

    def judge(self) -> None:
        """Nobody was told of a death who has not run in two processes that died, or seemed to."""
        innocent = [name for name in self.blamed if self.suspicion[name] < 2]
        assert not innocent, "blamed for deaths that were not their own"

    def check(self, asked: Asked, now: float, *, request_seconds: float) -> Any:
        """What a caller was told is its own answer, or a refusal that had its reason."""
        asked.checked = True
        if asked.task.cancelled():
            assert asyncio.CancelledError in asked.allowed, "a caller was cancelled by nobody"
            return None
        error = asked.task.exception()
        if error is None:
            return asked.task.result()
        if isinstance(error, ModelError):
            assert str(error) in self.said[asked.name], "another's failure"
        elif isinstance(error, PredictionTimeout):
            assert now >= asked.since + request_seconds or PredictionTimeout in asked.allowed, (
                "told too early"
            )
        elif isinstance(error, WorkerCrashed) and WorkerCrashed not in asked.allowed:
            self.blamed.add(asked.name)  # a caller may hear before the process has ended
        else:
            assert isinstance(error, tuple(asked.allowed)), (asked.name, error)
        return error
