"""What machines have in common whose processes the test plays."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.workers.stateful.asking import Asked, Ledger
from tests.workers.stateful.played import theatre
from workers.protocol import framing

if TYPE_CHECKING:
    from tests.workers.stateful.scripted import Process
    from workers.protocol.messages import WorkerRequest

PLACES = st.integers(0, 1_000)  # of one among those there are
TURNS = st.integers(0, 3)
HOW = st.sampled_from(["well", "well", "well", "fails", "few", "wrong", "ends"])
WAITS = st.sampled_from([0.01, 0.04, 0.05, 0.06, 0.3, 0.6, 1.0, 4.0, 11.0])
GARBAGE = st.sampled_from([b"\xff" * framing.HEADER.size, b"Traceback (most recent call last):\n"])


class Staged(RuleBasedStateMachine):
    """Callers that go away, and processes that answer well and badly, die, hang, fail to start."""

    deep = False  # whether a worker is given batches in advance
    each = 0.021  # what a job takes, as a process says

    def __init__(self) -> None:
        super().__init__()
        self.house = ExitStack()
        self.loop, self.stage = self.house.enter_context(theatre())
        self.stage.died, self.stage.cut = self.note_death, self.note_cut
        self.ledger = Ledger()
        self.asked: list[Asked] = []
        self.fresh: dict[Process, list[WorkerRequest]] = {}
        self.number = 0

    @precondition(lambda self: self.unanswered())
    @rule(place=PLACES, turns=TURNS)
    def go_away(self, place: int, turns: int) -> None:
        """A caller is cancelled, wherever its job is."""
        asked = self.unanswered()[place % len(self.unanswered())]
        asked.allowed.add(asyncio.CancelledError)
        asked.task.cancel()
        self.turn(turns)

    def has_work(self) -> bool:
        return any(process.busy for process in self.stage.able)

    @precondition(has_work)
    @rule(place=PLACES, how=HOW, keep=st.sampled_from([0, 0, 0, 1, 30]), turns=TURNS)
    def answer(self, place: int, how: str, keep: int, turns: int) -> None:
        """One answers what it runs; the end of that may come later."""
        able = [process for process in self.stage.able if process.busy]
        self.answer_of(able[place % len(able)], how, keep=keep)
        self.turn(turns)

    def answer_of(self, process: Process, how: str, *, keep: int = 0) -> None:
        if process.unsent:
            process.flush()
        asks = self.ledger.taken(process)
        if asks is not None:
            answers = self.ledger.answers(process, asks, how)
            self.fresh.setdefault(process, []).extend(asks)
            process.answer([*answers], self.each * len(asks), keep=keep)

    @precondition(lambda self: self.stage.able)
    @rule(place=PLACES)
    def take(self, place: int) -> None:
        """One begins what it is given."""
        self.ledger.taken(self.stage.able[place % len(self.stage.able)])

    @precondition(lambda self: self.stage.alive)
    @rule(
        place=PLACES,
        told_after=st.sampled_from([0.0, 0.0, 0.02, 0.2]),
        cut_after=st.sampled_from([0.0, 0.0, 0.02, 0.2]),
        turns=TURNS,
    )
    def die(self, place: int, told_after: float, cut_after: float, turns: int) -> None:
        """One ends; a process of its own may hold its socket open, the system may be late to tell."""
        process = self.stage.alive[place % len(self.stage.alive)]
        process.die(told_after=told_after, cut_after=cut_after)
        self.turn(turns)

    @precondition(lambda self: self.stage.able)
    @rule(place=PLACES, garbage=GARBAGE, turns=TURNS)
    def babble(self, place: int, garbage: bytes, turns: int) -> None:
        """One sends what is no answer; it is cut, and ended."""
        process = self.stage.able[place % len(self.stage.able)]
        process.flush()
        process.write(garbage)
        process.silenced = True
        self.turn(turns)

    @rule(plan=st.lists(st.sampled_from(["slow", "fails", "dies", "refused", "none", "well"]), max_size=3))
    def plan(self, plan: list[str]) -> None:
        """How the next processes start."""
        self.stage.plan.extend(plan)

    @precondition(lambda self: any(not process.warm for process in self.stage.alive))
    @rule(fails=st.booleans(), turns=TURNS)
    def load(self, fails: bool, turns: int) -> None:
        """A slow one says how its load went."""
        next(process for process in self.stage.alive if not process.warm).report(fails=fails)
        self.turn(turns)

    def named(self, kind: str) -> bytes:
        self.number += 1
        return b"%s%d" % (kind.encode(), self.number)

    def begin_asking(self, name: bytes, work: Any) -> Asked:
        """A caller's task, of which note is taken."""
        asked = Asked(name, self.loop.create_task(work), self.loop.time())
        self.asked.append(asked)
        return asked

    def unanswered(self) -> list[Asked]:
        return [asked for asked in self.asked if not asked.task.done()]

    def allow(self, kind: type[BaseException]) -> None:
        for asked in self.unanswered():
            asked.allowed.add(kind)

    def note_death(self, process: Process) -> None:
        self.ledger.died(process, self.fresh.pop(process, []))

    def note_cut(self, process: Process) -> None:
        doubt = self.deep or process.lingers or process.kill_wanted or process.silenced
        self.ledger.cut(process, doubt=doubt)

    def turn(self, times: int) -> None:
        waiting = self.unanswered()
        self.loop.turn(times)
        for asked in waiting if times else ():
            asked.begun = asyncio.CancelledError not in asked.allowed
        if times >= 2:
            self.settled()

    def settled(self) -> None:
        """What was answered before is heard by now."""
        self.fresh = {process: asks for process, asks in self.fresh.items() if process.unsent}

    def play_on(self) -> None:
        """Every process that can answers all that it has."""
        self.stage.plan.clear()
        for process in self.stage.able:
            process.report()
            if process.warm:
                self.answer_of(process, "well")
                process.flush()
        self.turn(2)
