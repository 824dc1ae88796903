"""What travels between the gateway and a worker, generated, and a frame's parts as its reader has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis.strategies as st

from workers.protocol import framing
from workers.protocol.messages import (
    MEDIA_TYPES,
    Chunk,
    CloseStream,
    Failure,
    InputProblem,
    Job,
    LoadReport,
    NextChunk,
    OpenStream,
    Reply,
    RowBatching,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

TYPES = st.sampled_from(MEDIA_TYPES)
BODIES = st.binary(max_size=40)
STREAMS = st.integers(0, 2**64 - 1)
SECONDS = st.floats(0.0, allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=12)
SURROGATES = st.text(st.characters(categories=["Cs", "L"]), max_size=12)
KINDS = st.sampled_from(["input", "type", "answer", "model", "load"])

JOBS = st.builds(Job, BODIES, TYPES, TYPES, st.none() | st.integers(0, 2**63 - 1))
ASKS = st.one_of(
    JOBS, st.builds(OpenStream, JOBS, STREAMS), st.builds(NextChunk, STREAMS), st.builds(CloseStream, STREAMS)
)


@st.composite
def _replies(draw: st.DrawFn) -> Reply:
    body = draw(BODIES)
    length = draw(st.none() | st.integers(0, len(body)))
    return Reply(body, draw(SECONDS), draw(st.booleans()), draw(TYPES), length)


def failures(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Failure]:
    """Failures of all kinds with texts of one."""
    cells = st.builds(InputProblem, st.none() | st.integers(0, 2**53), st.none() | texts, texts)
    details = st.lists(cells, max_size=3).map(tuple)
    return st.builds(Failure, KINDS, texts, details, texts, texts, texts)


def reports(texts: st.SearchStrategy[str]) -> st.SearchStrategy[LoadReport]:
    """Reports of a load with texts of one kind."""
    merging = st.builds(RowBatching, st.booleans(), texts)
    return st.builds(LoadReport, SECONDS, st.booleans(), st.booleans(), merging)


CHUNKS = st.builds(Chunk, st.none() | BODIES, SECONDS)
ANSWERS = st.one_of(_replies(), CHUNKS, failures(TEXTS), reports(TEXTS))


def split(frame: Sequence[bytes], *, of_asks: bool) -> tuple[tuple[int, int, float], bytes, bytes]:
    """The head, the entries and the bodies of a whole frame, read as both ends read it."""
    whole = b"".join(frame)
    head, rest = framing.HEADER.unpack(whole[: framing.HEADER.size]), whole[framing.HEADER.size :]
    entries = framing.entries_size(head[0], of_requests=of_asks)
    assert len(rest) == entries + head[1]
    return head, rest[:entries], rest[entries:]
