"""Frames of batches and replies: what is encoded is decoded unchanged, and invalid frames are detected."""

from __future__ import annotations

import struct
from contextlib import suppress
from math import inf, nan
from typing import Any

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings

from tests.support.frames import (
    BODIES,
    JOBS,
    REPLIES,
    REQUESTS,
    SECONDS,
    SURROGATES,
    failures,
    load_reports,
    split,
)
from workers.protocol import framing
from workers.protocol.bounds import MAX_ENTRIES, ProtocolError
from workers.protocol.messages import (
    MEDIA_TYPES,
    Chunk,
    Failure,
    InputProblem,
    Job,
    LoadReport,
    Reply,
    RowBatching,
    WorkerReply,
    WorkerRequest,
)
from workers.protocol.reply_entries import check_entries

BUSY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
REPLY_ENTRY = struct.Struct("<BBBqdQI")
REPLY, CHUNK, STREAM_END, FAILURE, LOAD_REPORT = range(5)
TEXTS = {"kind": "model", "message": "m", "exception": "", "text": "", "log": ""}
FIELDS = {**TEXTS, "details": [], "details_total": 2}


def entry(kind: int, size: int, *, content_type: int = 0, length: int = -1, seconds: float = 0.0) -> bytes:
    return REPLY_ENTRY.pack(kind, 0, content_type, length, seconds, size, 0)


def roundtrip(*replies: WorkerReply | LoadReport) -> tuple[WorkerReply | LoadReport, ...]:
    _, entries, bodies = split(framing.encode_replies(replies, 0.0), of_requests=False)
    return framing.decode_replies(entries, bodies)


@settings(BUSY_MACHINE, max_examples=200)
@given(st.lists(REQUESTS, max_size=5))
def test_requests_survive_a_roundtrip(requests: list[WorkerRequest]) -> None:
    """Jobs, with empty bodies and any length of JSON, and stream requests arrive unchanged and in order."""
    header, entries, bodies = split(framing.encode_requests(requests), of_requests=True)
    assert header[0] == len(requests)
    decoded = framing.decode_requests(entries, bodies)
    assert decoded == tuple(requests)
    assert list(map(type, decoded)) == list(map(type, requests))  # a Job is a tuple, equal to any


@BUSY_MACHINE
@given(JOBS, st.text(max_size=8), st.text(max_size=8))
def test_an_unknown_media_type_becomes_empty(job: Job, content_type: str, accept: str) -> None:
    """A client may send any type; the codec rejects the empty one as it would that."""
    job = job._replace(content_type=f"x/{content_type}", accept=f"x/{accept}")
    _, entries, bodies = split(framing.encode_requests([job, job]), of_requests=True)
    assert framing.decode_requests(entries, bodies) == (job._replace(content_type="", accept=""),) * 2


@settings(BUSY_MACHINE, max_examples=200)
@given(st.lists(REPLIES, max_size=5), SECONDS)
def test_replies_survive_a_roundtrip(replies: list[WorkerReply | LoadReport], seconds: float) -> None:
    """Predictions, chunks, ends of streams, failures and load reports arrive unchanged and in order."""
    header, entries, bodies = split(framing.encode_replies(replies, seconds), of_requests=False)
    assert header == (len(replies), len(bodies), seconds)
    decoded = framing.decode_replies(entries, bodies)
    assert decoded == tuple(replies)
    assert list(map(type, decoded)) == list(map(type, replies))


def test_an_empty_chunk_does_not_end_the_stream() -> None:
    """A model may yield an empty text."""
    assert roundtrip(Chunk(b"", 1.0), Chunk(None, 2.0)) == (Chunk(b"", 1.0), Chunk(None, 2.0))


@BUSY_MACHINE
@given(st.one_of(failures(SURROGATES), load_reports(SURROGATES)))
@example(Failure("input", "\ud800", (InputProblem(0, "\udfff", "\udc00"),), "\ud800", "\ud800", "\ud800"))
@example(LoadReport(1.0, row_batching=RowBatching(False, "\ud800")))
def test_lone_surrogates_become_question_marks(message: Failure | LoadReport) -> None:
    """A model's texts and a client's column names may contain them, but UTF-8 cannot."""

    def clean(text: str) -> str:
        return "".join("?" if "\ud800" <= letter <= "\udfff" else letter for letter in text)

    (decoded,) = roundtrip(message)
    if isinstance(message, Failure):
        assert isinstance(decoded, Failure)
        assert [decoded.message, decoded.exception, decoded.text, decoded.log] == [
            clean(text) for text in (message.message, message.exception, message.text, message.log)
        ]
        assert decoded.details == tuple(
            InputProblem(each.row, None if each.column is None else clean(each.column), clean(each.reason))
            for each in message.details
        )
    else:
        assert isinstance(decoded, LoadReport)
        assert decoded.row_batching.reason == clean(message.row_batching.reason)


@settings(BUSY_MACHINE, max_examples=300)
@given(st.binary(max_size=120), st.binary(max_size=60))
def test_any_bytes_are_replies_or_a_protocol_error(entries: bytes, bodies: bytes) -> None:
    """Arbitrary bytes raise nothing but ProtocolError."""
    with suppress(ProtocolError):
        framing.decode_replies(entries, bodies)


@settings(BUSY_MACHINE, max_examples=400)
@given(st.lists(REPLIES, min_size=1, max_size=3), st.data())
def test_a_changed_frame_is_replies_or_a_protocol_error(
    replies: list[WorkerReply | LoadReport], data: st.DataObject
) -> None:
    """Bytes that are changed, lost or added raise nothing but ProtocolError.

    Replies that are decoded from them can be encoded again, so each of their fields is valid.
    """
    _, entries, bodies = split(framing.encode_replies(replies, 0.0), of_requests=False)
    entries, bodies = mutated(entries, data), mutated(bodies, data)
    try:
        decoded = framing.decode_replies(entries, bodies)
    except ProtocolError:
        return
    assert roundtrip(*decoded) == decoded


def mutated(original: bytes, data: st.DataObject) -> bytes:
    changed = bytearray(original)
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(changed)))
        end = start + data.draw(st.integers(0, 2))
        changed[start:end] = data.draw(st.binary(max_size=2))
    return bytes(changed)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(BUSY_MACHINE, max_examples=300)
@given(st.sampled_from([FAILURE, LOAD_REPORT]), JSON_VALUES, st.sampled_from(sorted(FIELDS)), st.booleans())
def test_any_json_is_a_reply_or_a_protocol_error(kind: int, value: Any, name: str, inside: bool) -> None:
    """Any JSON in place of a failure or a load report, or of one field of a failure."""
    body = orjson.dumps({**FIELDS, name: value} if inside else value)
    try:
        decoded = framing.decode_replies(entry(kind, len(body)), body)
    except ProtocolError:
        return
    assert roundtrip(*decoded) == decoded


@pytest.mark.parametrize(
    "value",
    [
        *(None, 1, "text", [], {}, [[]]),
        *(FIELDS | {"kind": "other"}, FIELDS | {"kind": []}, FIELDS | {"more": ""}),
        *(FIELDS | {"details_total": total} for total in (-1, True, None, 1.5, 2**60)),
        *(FIELDS | {"log": None}, FIELDS | {"details": None}, FIELDS | {"details": ["abc"]}),
        *(
            FIELDS | {"details": [problem]}
            for problem in ([0, None], ["0", None, ""], [0, 1, ""], [0, "c", None])
        ),
    ],
)
def test_an_invalid_failure_is_a_protocol_error(value: Any) -> None:
    """A failure has exactly its fields, each of its type, since clients read them."""
    body = orjson.dumps(value)
    with pytest.raises(ProtocolError):
        framing.decode_replies(entry(FAILURE, len(body)), body)
    with pytest.raises(ProtocolError):
        framing.decode_replies(entry(FAILURE, 2), b"{x")


@pytest.mark.parametrize(
    "value",
    [
        *(None, 1, "text", [], {"a": 1, "b": 2, "c": 3, "d": 4}, [1, True, True, ""], [True, True, ""]),
        *([True, True, True, None], [True, True, True, [[]]], [True, True, True, True, ""]),
    ],
)
def test_an_invalid_load_report_is_a_protocol_error(value: Any) -> None:
    """A load report has three flags and a reason."""
    body = orjson.dumps(value)
    with pytest.raises(ProtocolError):
        framing.decode_replies(entry(LOAD_REPORT, len(body)), body)


@pytest.mark.parametrize(
    ("entries", "bodies"),
    [
        (entry(5, 1), b"x"),
        (entry(255, 1), b"x"),
        (entry(REPLY, 1, content_type=len(MEDIA_TYPES)), b"x"),
        (entry(REPLY, 1, length=2), b"x"),
        (entry(REPLY, 1, length=-2), b"x"),
        (entry(REPLY, 2), b"x"),
        (entry(REPLY, 2**64 - 1), b"x"),
        (entry(REPLY, 0), b"x"),
        (entry(REPLY, 1)[:-1], b"x"),
        (entry(REPLY, 1) + b"\0", b"x"),
        (entry(CHUNK, 1) + entry(STREAM_END, 1), b"x"),
        (b"", b"x"),
        *(
            (entry(kind, 0, seconds=seconds), b"")
            for kind in (REPLY, CHUNK, STREAM_END)
            for seconds in (nan, inf, -1.0)
        ),
    ],
)
def test_invalid_entries_are_a_protocol_error(entries: bytes, bodies: bytes) -> None:
    """Unknown kinds and types, bodies too short or too long, truncated entries, invalid durations."""
    with pytest.raises(ProtocolError):
        framing.decode_replies(entries, bodies)


@BUSY_MACHINE
@given(BODIES)
def test_valid_entries_built_by_hand_are_decoded(body: bytes) -> None:
    """The tests above vary valid frames, so they fail for the reason that they name."""
    assert framing.decode_replies(entry(REPLY, len(body)), body) == (Reply(body, 0.0, wrapped=False),)
    failure = orjson.dumps(FIELDS | {"details": [[0, "c", "r"], [None, None, "r"]]})
    details = (InputProblem(0, "c", "r"), InputProblem(None, None, "r"))
    assert framing.decode_replies(entry(FAILURE, len(failure)), failure) == (
        Failure("model", "m", details, details_total=2),
    )
    report = orjson.dumps([True, False, True, "why"])
    load_report = LoadReport(0.0, preloaded=True, row_batching=RowBatching(True, "why"))
    assert framing.decode_replies(entry(LOAD_REPORT, len(report)), report) == (load_report,)


def fitted(replies: list[WorkerReply], max_answer_bytes: int) -> tuple[WorkerReply | LoadReport, ...]:
    """Return what arrives of the replies; fail if it is more than the gateway allows."""
    (count, size, _), entries, bodies = split(
        framing.encode_replies(replies, 0.0, max_answer_bytes), of_requests=False
    )
    check_entries(entries, size=size, max_answer_bytes=max_answer_bytes)
    assert count == len(replies)
    return framing.decode_replies(entries, bodies)


def test_answers_that_are_too_large_together() -> None:
    """The smallest are sent. One that fits alone is to be computed alone; a larger one never fits."""
    sizes = [40, 101, 60, 10, 100]
    kinds = [
        reply.kind if isinstance(reply, Failure) else len(reply.body)
        for reply in fitted([Reply(b"x" * size, 0.0) for size in sizes], 100)
        if isinstance(reply, Failure | Reply)
    ]
    assert kinds == [40, "answer", "batch", 10, "batch"]


def test_an_answer_that_fits_alone_is_sent() -> None:
    """So a request that runs alone never fails for the others."""
    assert fitted([Reply(b"x" * 100, 0.0)], 100) == (Reply(b"x" * 100, 0.0),)
    (failure,) = fitted([Chunk(b"x" * 101)], 100)
    assert failure == Failure("answer", "The model's answer is larger than 100 bytes.")


@pytest.mark.parametrize("log", ["x" * 20_000, "\x01" * 20_000])
def test_failures_that_are_too_large_together(log: str) -> None:
    """All of a frame are sent, the first ones whole, each with the start of its message."""
    failure = Failure("model", "It failed. " + log, exception="E" * 300, log=log)
    assert len(fitted([failure] * MAX_ENTRIES, 100)) == MAX_ENTRIES
    received = fitted([failure] * 256, 100)
    first, last = received[0], received[-1]
    assert isinstance(first, Failure)
    assert isinstance(last, Failure)
    assert first.log == log
    assert last.message.startswith("It failed.")
    assert last.log == ""


@BUSY_MACHINE
@given(st.lists(REPLIES, max_size=8), st.integers(0, 100))
def test_any_replies_fit_any_limit(replies: list[Any], max_answer_bytes: int) -> None:
    """The gateway accepts whatever a worker's own program sends."""
    received = fitted(replies, max_answer_bytes)
    for reply, arrived in zip(replies, received, strict=True):
        assert arrived == reply or (isinstance(arrived, Failure) and arrived.kind in {"answer", "batch"})
