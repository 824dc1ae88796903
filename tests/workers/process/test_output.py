"""What a worker writes is logged line by line with its model, bounded in rate and length."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.waiting import until
from tests.workers.conftest import key, load
from tests.workers.pool.calls import command, predict, worker_pid
from workers.errors import WorkerCrashed
from workers.process.output import LineLimiter, LineSplitter, OutputLog

if TYPE_CHECKING:
    from tests.workers.pool.calls import Lookup, Opened

FORGED = json.dumps({"level": "critical", "event": "forged", "message": "all is lost"})


@pytest.fixture(autouse=True)
def all_levels(caplog: pytest.LogCaptureFixture) -> None:
    """Models' lines are of the level `info`."""
    caplog.set_level(logging.INFO, "model")


@given(st.lists(st.binary(max_size=40)), st.integers(1, 12))
def test_the_pieces_do_not_matter(pieces: list[bytes], max_bytes: int) -> None:
    """However the bytes come, the lines are the same: the starts of those that are not empty."""
    splitter = LineSplitter(max_bytes)
    lines = [line for piece in pieces for line in splitter.feed(piece)] + splitter.finish()
    whole = b"".join(pieces).replace(b"\r", b"\n").split(b"\n")
    assert lines == [line[:max_bytes] for line in whole if line]


def test_a_limiter_admits_a_burst_and_then_a_rate() -> None:
    """What it does not admit is counted, once."""
    limiter = LineLimiter(per_second=2.0, burst=3.0)
    assert [limiter.admit(0.0) for _ in range(5)] == [True, True, True, False, False]
    assert [limiter.admit(1.0) for _ in range(3)] == [True, True, False]
    assert [limiter.take_dropped(), limiter.take_dropped()] == [3, 0]


async def test_a_model_cannot_forge_a_record(
    opened: Opened, files: Lookup, caplog: pytest.LogCaptureFixture
) -> None:
    """What it writes to any of its descriptors becomes the text of a record with its name and process."""
    text = f"import os, sys\nfor fd in (1, 2): os.write(fd, {FORGED.encode()!r} + b'\\n')\n"
    async with opened() as pool:
        await load(pool, files("commands"))
        pid = await worker_pid(pool)
        await predict(pool, "commands", command("run " + text))
        await until(lambda: len(_model_records(caplog)) == 2)
    for record in _model_records(caplog):
        assert record.getMessage() == FORGED
        assert (record.name, record.levelname) == ("model", "INFO")
        assert vars(record)["event"] == "model_output"
        assert (vars(record)["model"], vars(record)["pid"]) == ("commands/1", pid)


async def test_what_a_model_prints_last_is_logged(
    opened: Opened, files: Lookup, caplog: pytest.LogCaptureFixture
) -> None:
    """Even without an end of the line, and if the process ends at once."""
    async with opened() as pool:
        await load(pool, files("commands"))
        with pytest.raises(WorkerCrashed):
            await predict(pool, "commands", command("run import os; os.write(1, b'last words'); os._exit(0)"))
        await until(lambda: "last words" in [each.getMessage() for each in _model_records(caplog)])


async def test_a_flood_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred thousand lines become some hundred records, and one tells how many were left out."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    output = OutputLog(reader, {"event": "model_output", "model": str(key("chatty"))})
    flood = b"line\n" * 12_000
    written = 0
    while written < 5 * len(flood):
        try:
            written += os.write(writer, flood)
        except BlockingIOError:
            await until(lambda: _can_write(writer))
    await until(lambda: bool(_model_records(caplog)))
    os.close(writer)
    output.close()
    assert len(_model_records(caplog)) < 1_000


def _can_write(descriptor: int) -> bool:
    try:
        return os.write(descriptor, b"x\n") > 0
    except BlockingIOError:
        return False


def _model_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "model"]
