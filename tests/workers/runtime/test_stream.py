"""The one stream of a worker: how an earlier one ends does not concern the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.protocol.messages import Chunk, CloseStream, Job, NextChunk, OpenStream
from workers.runtime.stream import StreamSession

if TYPE_CHECKING:
    from collections.abc import Generator


def stubborn(job: Job) -> Generator[bytes, None, None]:
    """Yield the job's body twice; exit if the stream is closed in between."""
    try:
        yield job.body
    except GeneratorExit:
        raise SystemExit(3) from None
    yield job.body


def test_a_stream_that_exits_when_the_next_is_opened() -> None:
    """The next stream has its chunks and its end."""
    session = StreamSession()
    assert session.handle(OpenStream(Job(b"1"), 1), stubborn) == Chunk(b"1")
    assert session.handle(OpenStream(Job(b"2"), 2), stubborn) == Chunk(b"2")
    assert session.handle(NextChunk(2), stubborn) == Chunk(b"2")
    assert session.handle(NextChunk(2), stubborn) == Chunk(None)
    assert session.handle(CloseStream(2), stubborn) == Chunk(None)
