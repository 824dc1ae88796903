"""A crew whose processes the test plays: no caller is lost, answered twice, or given another's answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import initialize, invariant, precondition, rule

from tests.workers.stateful.asking import Asked, Reading
from tests.workers.stateful.effort import effort
from tests.workers.stateful.played import opened
from tests.workers.stateful.staged import PLACES, TURNS, WAITS, Staged
from workers.errors import ModelLoadError, PoolClosed, PredictionTimeout, QueueFull, WorkerCrashed
from workers.limits import PoolLimits
from workers.protocol.messages import Job, Reply

if TYPE_CHECKING:
    from workers.scheduler.worker_group import WorkerGroup

LIMITS = PoolLimits(
    workers_per_model=2, max_queue=8, request_seconds=10.0, stream_seconds=15.0, load_seconds=5.0
)


class Team(Staged):
    """Jobs and streams are asked, cancelled, answered well and badly; processes die, hang, fail to start."""

    def __init__(self) -> None:
        super().__init__()
        self.readings: list[Reading] = []
        self.closing: asyncio.Task[None] | None = None
        self.broken = False
        self.idles = 0
        self.idles_told = 0
        self.was_busy = False

    @initialize(deep=st.booleans(), merging=st.booleans(), waiting=st.integers(0, 6))
    def begin(self, deep: bool, merging: bool, waiting: int) -> None:
        """Two workers are warm; `deep` is a model so quick that it is given batches in advance."""
        self.deep = deep
        self.each = 0.0001 if deep else 0.021
        self.stage.merging = merging
        self.crew = self.loop.run(opened(self.stage, LIMITS, broken=self.break_down, idle=self.note_idle))
        if waiting:
            self.ask(waiting, 2)

    def note_idle(self) -> None:
        assert not self.crew.busy, "idle was told, and it is busy"
        self.idles += 1

    def break_down(self, crew: WorkerGroup, error: ModelLoadError) -> None:
        """What the pool does: nobody asks this crew any more, and it is closed."""
        assert isinstance(error, ModelLoadError)
        assert not crew.worker_count
        assert not self.broken
        self.broken = True
        self.allow(ModelLoadError)
        self.begin_to_close(0.0)

    # What callers do

    def open_for_more(self) -> bool:
        return self.closing is None

    @precondition(open_for_more)
    @rule(count=st.integers(1, 4), turns=TURNS)
    def ask(self, count: int, turns: int) -> None:
        """Some ask at once."""
        for _ in range(count):
            name = self.named("job")
            self.note(name, self.crew.predict(Job(name)))
        self.turn(turns)

    @precondition(open_for_more)
    @rule(turns=TURNS)
    def open_stream(self, turns: int) -> None:
        """One asks for its answer in chunks."""
        name = self.named("stream")
        self.note(name, self.crew.stream(Job(name)))
        self.turn(turns)

    @precondition(lambda self: self.readings)
    @rule(place=PLACES, turns=TURNS)
    def read_on(self, place: int, turns: int) -> None:
        """It asks for the next chunk, unless it still waits for one."""
        reading = self.readings[place % len(self.readings)]
        if reading.asked is None:
            work = anext(reading.stream)
            reading.asked = self.note(reading.name, cast("Any", _chunk(work)))
            reading.asked.allowed |= {WorkerCrashed, PredictionTimeout}
        self.turn(turns)

    @precondition(lambda self: self.readings)
    @rule(place=PLACES, turns=TURNS)
    def end_stream(self, place: int, turns: int) -> None:
        """It closes the stream as the gateway does: what it waited for is cancelled first."""
        reading = self.readings.pop(place % len(self.readings))
        if reading.asked is not None:
            reading.asked.allowed.add(asyncio.CancelledError)
            reading.asked.task.cancel()
            self.turn(1)
        self.loop.do(reading.stream.close)
        self.turn(turns)

    # What goes on by itself

    @rule(seconds=WAITS)
    def wait(self, seconds: float) -> None:
        """Time passes; a worker that has run something for longer than a request may take is ended."""
        busy = [process for process in self.stage.able if process.busy]
        idle = not self.crew.busy
        self.loop.wait(seconds)
        self.settled()
        if idle and seconds >= 1.0 and self.closing is not None:
            assert self.closing.done(), "nothing is to be answered, and it does not close"
        if seconds > LIMITS.request_seconds + 0.6:
            assert not [process for process in busy if process.alive], "it hangs, and is not ended"

    @precondition(open_for_more)
    @rule(drain=st.sampled_from([0.0, 0.0, 1.0, 30.0]), turns=TURNS)
    def close(self, drain: float, turns: int) -> None:
        """The crew is closed; whoever has no answer by then is told so."""
        self.begin_to_close(drain)
        self.turn(turns)

    def begin_to_close(self, drain: float) -> None:
        if self.closing is None:
            self.allow(PoolClosed)
            self.closing = self.loop.create_task(self.crew.close(drain_seconds=drain))

    @invariant()
    def nobody_is_lost_or_mixed_up(self) -> None:
        """Whoever has heard has heard what is its own; where somebody waits, the crew is busy."""
        for asked in self.asked:
            if asked.task.done() and not asked.checked:
                self.check(asked)
        assert not self.loop.raised, self.loop.raised
        assert len(self.stage.alive) <= 2 * LIMITS.workers_per_model
        assert self.crew.worker_count <= LIMITS.workers_per_model
        if self.begun() and not self.broken and self.closing is None:
            assert self.crew.busy, "it has a job, and says that it is idle"
        if self.was_busy and not self.crew.busy and self.closing is None:
            assert self.idles > self.idles_told, "it became idle, and told nobody"
        self.was_busy, self.idles_told = self.crew.busy, self.idles

    # The model's own

    def begun(self) -> bool:
        """Whether somebody waits whose job the crew has got."""
        return any(not asked.task.done() and asked.begun for asked in self.asked)

    def note(self, name: bytes, work: Any) -> Asked:
        full = len(self.unanswered()) >= LIMITS.max_queue
        asked = self.begin_asking(name, work)
        if full:
            asked.allowed.add(QueueFull)
        if self.closing is not None:
            asked.allowed.add(PoolClosed)
        return asked

    def check(self, asked: Asked) -> None:
        told = self.ledger.check(asked, self.loop.time(), request_seconds=LIMITS.request_seconds)
        reading = next((reading for reading in self.readings if reading.asked is asked), None)
        if reading is not None:
            reading.asked = None
            if isinstance(told, bytes):
                assert told == b"%s.%d" % (asked.name, reading.read), "a chunk is lost, doubled or another's"
                reading.read += 1
        elif hasattr(told, "body"):
            assert isinstance(told, Reply)
            assert told.body == b"answer to " + asked.name, "another's answer"
            assert told.body in self.ledger.said[asked.name], "an answer that nobody gave"
        elif hasattr(told, "close"):
            self.readings.append(Reading(asked.name, told))

    # The end

    def teardown(self) -> None:
        with self.house:
            if hasattr(self, "crew"):
                self.come_to_rest()
                self.end()

    def come_to_rest(self) -> None:
        """Every process answers, every stream is closed: everybody hears, and the crew is idle."""
        for _ in range(200):
            self.play_on()
            self.nobody_is_lost_or_mixed_up()
            while self.readings:
                self.end_stream(0, 1)
            self.wait(0.3)
            if not self.unanswered() and not self.crew.busy and (self.closing is None or self.closing.done()):
                return
        pytest.fail(f"{[asked.name for asked in self.unanswered()]} wait, busy is {self.crew.busy}")

    def end(self) -> None:
        """A crew that is idle drains at once and leaves nothing."""
        self.ledger.judge()
        self.loop.wait(40.0)  # the longest pause between two starts
        for process in self.stage.alive:
            process.report()
        if self.closing is None:
            assert self.crew.worker_count == LIMITS.workers_per_model
            before = self.loop.time()
            self.loop.run(self.crew.close(drain_seconds=60.0))
            assert self.loop.time() - before < 6.0
        else:
            self.closing.result()
        self.loop.wait(1.0)
        assert not self.stage.alive
        assert not asyncio.all_tasks(self.loop)
        assert not self.loop.timers()
        assert not self.loop.raised


async def _chunk(work: Any) -> bytes | None:
    try:
        chunk: bytes = await work
    except StopAsyncIteration:
        return None
    return chunk


TestTeam = Team.TestCase
TestTeam.settings = effort(80, 30)
