"""Hypothesis strategies for the messages between the gateway and a worker, and a splitter of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis.strategies as st

from workers.protocol import framing
from workers.protocol.messages import (
    MAX_DETAILS,
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

BODIES = st.binary(max_size=40)
SECONDS = st.floats(0.0, allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=12)
SURROGATES = st.text(st.characters(categories=["Cs", "L"]), max_size=12)
_MEDIA_TYPES = st.sampled_from(MEDIA_TYPES)
_STREAM_IDS = st.integers(0, 2**64 - 1)
_FAILURE_KINDS = st.sampled_from(["input", "type", "answer", "model", "load"])

JOBS = st.builds(
    Job,
    BODIES,
    _MEDIA_TYPES,
    _MEDIA_TYPES,
    st.none() | st.integers(0, 2**63 - 1),
    st.integers(1, MAX_DETAILS),
)
REQUESTS = st.one_of(
    JOBS,
    st.builds(OpenStream, JOBS, _STREAM_IDS),
    st.builds(NextChunk, _STREAM_IDS),
    st.builds(CloseStream, _STREAM_IDS),
)


@st.composite
def _predictions(draw: st.DrawFn) -> Reply:
    body = draw(BODIES)
    length = draw(st.none() | st.integers(0, len(body)))
    rows = draw(st.integers(0, 2**32 - 1))
    return Reply(body, draw(SECONDS), draw(st.booleans()), draw(_MEDIA_TYPES), length, rows=rows)


def failures(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Failure]:
    """Return failures of all kinds, with these texts."""
    problems = st.builds(InputProblem, st.none() | st.integers(0, 2**53), st.none() | texts, texts)
    details = st.lists(problems, max_size=3).map(tuple)
    totals = st.integers(3, 1001)
    return st.builds(Failure, _FAILURE_KINDS, texts, details, texts, texts, texts, totals)


def load_reports(texts: st.SearchStrategy[str]) -> st.SearchStrategy[LoadReport]:
    """Return load reports, with these texts."""
    row_batching = st.builds(RowBatching, st.booleans(), texts)
    return st.builds(LoadReport, SECONDS, st.booleans(), st.booleans(), row_batching)


CHUNKS = st.builds(Chunk, st.none() | BODIES, SECONDS)
REPLIES = st.one_of(_predictions(), CHUNKS, failures(TEXTS), load_reports(TEXTS))


def split(frame: Sequence[bytes], *, of_requests: bool) -> tuple[tuple[int, int, float], bytes, bytes]:
    """Return the header, the entries and the bodies of a frame, as both sides split it."""
    joined = b"".join(frame)
    header, rest = framing.HEADER.unpack(joined[: framing.HEADER.size]), joined[framing.HEADER.size :]
    entries = framing.entries_size(header[0], of_requests=of_requests)
    assert len(rest) == entries + header[1]
    return header, rest[:entries], rest[entries:]
