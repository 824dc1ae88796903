"""Whatever a worker sends: no exception, no memory beyond the bounds, and one outcome for each batch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from tests.support.frames import REPLIES
from tests.support.sockets import channel_pair
from workers.answer_memory import AnswerLimits, UnlimitedAnswerMemory
from workers.errors import WorkerCrashed
from workers.process import frame_body
from workers.protocol import framing
from workers.protocol.messages import Job
from workers.protocol.reply_entries import REPLY_ENTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workers.answer_memory import AnswerClaim
    from workers.protocol.messages import LoadReport, WorkerReply

MAX_ANSWERS = 2 * frame_body.PIECE_BYTES
BUSY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)


class Spy(UnlimitedAnswerMemory):
    """An account that keeps what was claimed."""

    def __init__(self) -> None:
        self.claimed: list[int] = []

    def claim(self, size: int, on_granted: Callable[[], None]) -> AnswerClaim:
        """Record and grant a claim."""
        self.claimed.append(size)
        return super().claim(size, on_granted)


async def feed(data: bytes, batches: Sequence[int], pieces: Sequence[int]) -> None:
    """Give a channel with these batches the bytes in pieces of these sizes, again and again."""
    spy = Spy()
    async with channel_pair() as pair:
        pair.channel.answers = AnswerLimits(lambda: MAX_ANSWERS, spy)
        outcomes = [pair.submit(*[Job(b"{}")] * count) for count in batches]
        position, turn = 0, 0
        while position < len(data) and pair.channel.connected:
            size = pieces[turn % len(pieces)]
            pair.feed(data[position : position + size])
            position, turn = position + size, turn + 1
        assert sum(spy.claimed) <= (MAX_ANSWERS + 2**22) * len(batches)
        assert bool(pair.channel.violation) is not pair.channel.connected
        assert pair.lost_count == (not pair.channel.connected)
        pair.channel.abort()
        ends = await asyncio.gather(*outcomes)
        assert len(ends) == len(batches)
        for end, count in zip(ends, batches, strict=True):
            assert isinstance(end, WorkerCrashed) or len(end[0]) <= count


def mutate(frame: bytes, changes: Sequence[tuple[int, int, bytes]]) -> bytes:
    changed = bytearray(frame)
    for start, length, replacement in changes:
        at = start % (len(changed) + 1)
        changed[at : at + length] = replacement
    return bytes(changed)


PIECES = st.lists(st.integers(1, 100_000), min_size=1, max_size=4)
BATCHES = st.lists(st.integers(1, 4), max_size=3)
CHANGES = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 3), st.binary(max_size=3)), max_size=4)


@BUSY_MACHINE
@given(st.binary(max_size=400), BATCHES, PIECES)
def test_any_bytes(data: bytes, batches: list[int], pieces: list[int]) -> None:
    """Noise is a violation, or waits for more."""
    asyncio.run(feed(data, batches, pieces))


@BUSY_MACHINE
@given(st.lists(st.lists(REPLIES, max_size=4), min_size=1, max_size=3), CHANGES, BATCHES, PIECES)
def test_changed_frames(
    frames: list[list[WorkerReply | LoadReport]],
    changes: list[tuple[int, int, bytes]],
    batches: list[int],
    pieces: list[int],
) -> None:
    """Frames with bytes changed, lost or added, in any pieces, for other batches than these."""
    data = b"".join(b"".join(framing.encode_replies(replies, 0.0)) for replies in frames)
    asyncio.run(feed(mutate(data, changes), batches, pieces))


HEADERS = st.builds(
    framing.HEADER.pack,
    st.integers(0, 5) | st.integers(0, 2**32 - 1),
    st.integers(0, 4 * frame_body.PIECE_BYTES) | st.integers(0, 2**64 - 1),
    st.floats(),
)
SIZES: Any = st.integers(0, 3 * frame_body.PIECE_BYTES) | st.integers(0, 2**64 - 1)
ENTRIES = st.builds(
    REPLY_ENTRY.pack,
    st.integers(0, 6),
    st.integers(0, 1),
    st.integers(0, 6),
    st.integers(-2, 100),
    st.floats(),
    SIZES,
    st.integers(0, 2**32 - 1),
)


@BUSY_MACHINE
@given(HEADERS, st.lists(ENTRIES, max_size=5), st.integers(0, 2**22), BATCHES, PIECES)
def test_frames_by_hand(
    header: bytes, entries: list[bytes], size: int, batches: list[int], pieces: list[int]
) -> None:
    """Headers and entries of any fields, and up to 4 MiB of bodies."""
    asyncio.run(feed(b"".join((header, *entries, bytes(size))), batches, pieces))
