"""Proves what happens to a model whose code writes frames of its own, and to answers at their limit."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support import models
from tests.support.waiting import until
from tests.workers.conftest import Files, LiveLimits, key, load
from tests.workers.pool.calls import COMMANDS, command, ended, predict, worker_pid
from workers.answer_memory import UnlimitedAnswerMemory
from workers.errors import (
    ModelError,
    ModelLoadError,
    NotAcceptable,
    PredictionTimeout,
    WorkerProtocolError,
)
from workers.metrics import MODEL_LOADS, PREDICTION_RETRIES, WORKER_EXITS, WORKER_STARTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.workers.pool.calls import Lookup, Opened
    from workers.answer_memory import AnswerClaim
    from workers.protocol.messages import Reply

HEADER, ENTRY = struct.Struct("<IQd"), struct.Struct("<BBBqdQI")
MIB = 2**20
REPLY, FAILURE, LOAD_REPORT = 0, 3, 4
CELLS = b'[0,null,""],' * 5_000
LABELS = COMMANDS.name, COMMANDS.version


def send(kind: int, size: int, *, count: int = 1) -> str:
    """Return the command that sends the head of a frame, and `size` bytes."""
    head = HEADER.pack(count, size * count, 0.1) + ENTRY.pack(kind, 0, 0, -1, 0.0, size, 0) * count
    times = max(1, size * count // len(CELLS))
    return f"send {head.hex()} {times} {CELLS.hex()}"


ATTACKS = {
    "a failure of 120 MB": (send(FAILURE, 120 * MIB), "a failure of 125829120 bytes"),
    "a failure of 1 MiB": (send(FAILURE, MIB), "a failure of 1048576 bytes, where 262144 are allowed"),
    "an answer of 300 MiB": (send(REPLY, 300 * MIB), "bodies of 314572800 bytes, where 270536704"),
    "a load report of 5 KB": (send(LOAD_REPORT, 5000), "a load report of 5000 bytes, where 4096"),
    "two answers": (send(REPLY, 10, count=2), "2 replies, where 1 are allowed"),
    "noise": ("send " + "ff" * 40 + " 1 ff", "replies, where 1 are allowed"),
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_model_that_sends_frames_of_its_own(
    opened: Opened, files: Lookup, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Its worker is ended, counted and told of once; the request fails and is not tried again."""
    attack, reason = ATTACKS[name]
    async with opened() as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        with pytest.raises(WorkerProtocolError, match=reason):
            await predict(pool, "commands", command(attack))
        await ended(pid)
        assert await worker_pid(pool) != pid
        assert pool.counters.value(WORKER_EXITS, *LABELS, "protocol") == 1
        assert pool.counters.value(WORKER_EXITS, *LABELS, "crash") == 0
        assert pool.counters.value(PREDICTION_RETRIES, *LABELS) == 0
        assert pool.counters.value(WORKER_STARTS, *LABELS) == 2
    (record,) = [each for each in caplog.records if getattr(each, "event", "") == "worker_broke_protocol"]
    assert reason in record.getMessage()
    assert record.__dict__["model"] == "commands/1"


async def test_requests_behind_an_attack_are_answered(opened: Opened, files: Lookup) -> None:
    """Those that wait run in the next worker. The first batch of a model has one request: the attack."""
    async with opened() as pool:
        await load(pool, files("commands"))
        attack = asyncio.create_task(predict(pool, "commands", command(ATTACKS["noise"][0])))
        others = [asyncio.create_task(predict(pool, "commands", command("say 1"))) for _ in range(5)]
        with pytest.raises(WorkerProtocolError):
            await attack
        assert await asyncio.gather(*others) == [["1"]] * 5


async def test_a_model_that_attacks_while_it_is_idle(opened: Opened, files: Lookup) -> None:
    """No request is there to fail. The worker is replaced as one that crashed while it was idle."""
    async with opened() as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        assert await predict(pool, "commands", command(f"later 0.2 {ATTACKS['noise'][0]}"))
        await ended(pid)
        await until(lambda: pool.counters.value(WORKER_EXITS, *LABELS, "protocol") == 1)
        assert await worker_pid(pool) != pid


async def test_a_model_that_attacks_while_it_loads(opened: Opened, tmp_path: Path) -> None:
    """The load fails at once for that reason, and is remembered as other failed loads are."""
    folder = models.save(tmp_path / "attacks", models.SendsAtLoad(HEADER.pack(1, 2**30, 0.0)))
    async with opened() as pool:
        for _ in range(2):
            with pytest.raises(ModelLoadError, match="bodies of 1073741824 bytes, where 2101248 are allowed"):
                await load(pool, Files(key("attacks"), folder))
        assert pool.counters.value(MODEL_LOADS, "attacks", "1", "failed") == 1


async def test_an_answer_at_the_limit(opened: Opened, files: Lookup) -> None:
    """It is sent; a larger one is a failure that names the limit, and the worker lives. The limit follows."""
    limits = LiveLimits(max_answer_bytes=1000)
    async with opened(limits) as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        assert await predict(pool, "commands", command("say " + "x" * 996))
        with pytest.raises(NotAcceptable, match="larger than 1000 bytes"):
            await predict(pool, "commands", command("say " + "x" * 997))
        limits.set(max_answer_bytes=1001)
        assert await predict(pool, "commands", command("say " + "x" * 997))
        with pytest.raises(ModelError):  # a failure is no answer
            await predict(pool, "commands", command("raise " + "x" * 3000))
        assert await worker_pid(pool) == pid


async def test_answers_that_are_too_large_together(opened: Opened, files: Lookup) -> None:
    """Requests that wait share a batch; those whose answers do not fit beside the others run again alone."""
    async with opened(max_answer_bytes=1000) as pool:
        await load(pool, files("commands"))
        for _ in range(5):  # so that batches of more than one request are made
            await worker_pid(pool)
        first = asyncio.create_task(predict(pool, "commands", command("sleep 0.2")))
        await until(lambda: pool.status(COMMANDS).running > 0)
        texts = [str(number) * 600 for number in range(8)]
        answers = await asyncio.gather(*(predict(pool, "commands", command(f"say {text}")) for text in texts))
        await first
        assert answers == [[text] for text in texts]
        assert pool.counters.value(WORKER_EXITS, *LABELS, "protocol") == 0


async def test_a_large_answer_comes_in_pieces(opened: Opened, files: Lookup) -> None:
    """Its bytes are those of the model."""
    async with opened() as pool:
        await load(pool, files("commands"))
        reply: Reply = await pool.predict(COMMANDS, command(f"fill {3 * MIB}"))
        assert reply.large is not None
        expected = "".join(f"{position:09} " for position in range(0, 3 * MIB, 10))
        assert orjson.loads(b"".join(reply.large)) == [expected]


class Full(UnlimitedAnswerMemory):
    """An account that grants claims only when the test says so."""

    def __init__(self) -> None:
        self.granted = False
        self.grants: list[Callable[[], None]] = []

    def claim(self, size: int, on_granted: Callable[[], None]) -> AnswerClaim:
        """Let a claim wait."""
        del size
        self.grants.append(on_granted)
        return self

    def release(self, size: int) -> None:
        """Do nothing: the test counts no bytes."""


async def test_a_worker_whose_answer_waits_for_memory_is_not_hung(opened: Opened, files: Lookup) -> None:
    """Its client gets a timeout, but the worker is not killed for what the gateway makes it wait for."""
    memory, seconds = Full(), 0.3
    while True:
        async with opened(request_seconds=seconds, answer_memory=memory) as pool:
            await load(pool, files("commands"))
            with pytest.raises(PredictionTimeout):
                await predict(pool, "commands", command(f"fill {3 * MIB}"))
            if not memory.grants:  # the machine was slower than that: the answer had not begun
                seconds *= 10
                continue
            await asyncio.sleep(1.5)  # for the worker to be killed, if it were
            assert pool.counters.value(WORKER_EXITS, *LABELS, "timeout") == 0
            memory.grants.pop()()
            await until(lambda: pool.status(COMMANDS).running == 0)
            assert pool.counters.value(WORKER_STARTS, *LABELS) == 1
            return
