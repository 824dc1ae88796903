"""Batches and answers as bytes: all that goes in comes out, and what is no frame of ours is known as such."""

from __future__ import annotations

import struct
from contextlib import suppress
from math import inf, nan
from typing import Any

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import example, given, settings

from tests.support.frames import ANSWERS, ASKS, BODIES, JOBS, SECONDS, SURROGATES, failures, reports, split
from workers.protocol import framing
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

ANSWER = struct.Struct("<BBBqdQ")
REPLY, CHUNK, END, FAILURE, LOADED = range(5)
TOLD = {"kind": "model", "message": "m", "exception": "", "text": "", "log": "", "details": []}


def entry(kind: int, size: int, *, content_type: int = 0, length: int = -1, seconds: float = 0.0) -> bytes:
    return ANSWER.pack(kind, 0, content_type, length, seconds, size)


def roundtrip(*answers: WorkerReply | LoadReport) -> tuple[WorkerReply | LoadReport, ...]:
    _, entries, bodies = split(framing.encode_replies(answers, 0.0), of_asks=False)
    return framing.decode_replies(entries, bodies)


@settings(max_examples=200, deadline=None)
@given(st.lists(ASKS, max_size=5))
def test_a_batch_comes_as_it_went(asks: list[WorkerRequest]) -> None:
    """Jobs, with empty bodies and any length of JSON in them, and what concerns streams, in order."""
    head, entries, bodies = split(framing.encode_requests(asks), of_asks=True)
    assert head[0] == len(asks)
    got = framing.decode_requests(entries, bodies)
    assert got == tuple(asks)
    assert [type(ask) for ask in got] == [type(ask) for ask in asks]  # a Job is a tuple, equal to any


@given(JOBS, st.text(max_size=8), st.text(max_size=8))
def test_a_media_type_that_nobody_reads_is_none(job: Job, content_type: str, accept: str) -> None:
    """A caller may send any; the codec refuses the empty one just as it would that."""
    job = job._replace(content_type=f"x/{content_type}", accept=f"x/{accept}")
    _, entries, bodies = split(framing.encode_requests([job, job]), of_asks=True)
    assert framing.decode_requests(entries, bodies) == (job._replace(content_type="", accept=""),) * 2


@settings(max_examples=200, deadline=None)
@given(st.lists(ANSWERS, max_size=5), SECONDS)
def test_answers_come_as_they_went(answers: list[WorkerReply | LoadReport], seconds: float) -> None:
    """Replies, chunks and their ends, failures with their cells, reports of a load; in order."""
    head, entries, bodies = split(framing.encode_replies(answers, seconds), of_asks=False)
    assert head == (len(answers), len(bodies), seconds)
    got = framing.decode_replies(entries, bodies)
    assert got == tuple(answers)
    assert [type(answer) for answer in got] == [type(answer) for answer in answers]


def test_no_chunk_and_an_empty_one_differ() -> None:
    """A model may yield an empty text; that does not end its stream."""
    assert roundtrip(Chunk(b"", 1.0), Chunk(None, 2.0)) == (Chunk(b"", 1.0), Chunk(None, 2.0))


@given(st.one_of(failures(SURROGATES), reports(SURROGATES)))
@example(Failure("input", "\ud800", (InputProblem(0, "\udfff", "\udc00"),), "\ud800", "\ud800", "\ud800"))
@example(LoadReport(1.0, row_batching=RowBatching(False, "\ud800")))
def test_lone_surrogates_travel_as_question_marks(told: Failure | LoadReport) -> None:
    """A model's texts, and a caller's names, may hold what UTF-8 cannot; the answer comes even so."""

    def clean(text: str) -> str:
        return "".join("?" if "\ud800" <= letter <= "\udfff" else letter for letter in text)

    (got,) = roundtrip(told)
    if isinstance(told, Failure):
        assert isinstance(got, Failure)
        assert [got.message, got.exception, got.text, got.log] == [
            clean(text) for text in (told.message, told.exception, told.text, told.log)
        ]
        assert got.details == tuple(
            InputProblem(cell.row, None if cell.column is None else clean(cell.column), clean(cell.reason))
            for cell in told.details
        )
    else:
        assert isinstance(got, LoadReport)
        assert got.row_batching.reason == clean(told.row_batching.reason)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.binary(max_size=60))
def test_any_bytes_are_answers_or_broken(entries: bytes, bodies: bytes) -> None:
    """A stranger's bytes raise nothing but WireBroken."""
    with suppress(framing.ProtocolError):
        framing.decode_replies(entries, bodies)


@settings(max_examples=400, deadline=None)
@given(st.lists(ANSWERS, min_size=1, max_size=3), st.data())
def test_a_changed_frame_is_answers_or_broken(
    answers: list[WorkerReply | LoadReport], data: st.DataObject
) -> None:
    """Bytes that are changed, lost or added raise nothing but WireBroken, and no answer is half one.

    What is made of them can be sent again: nothing in it is of a form that is not ours.
    """
    _, entries, bodies = split(framing.encode_replies(answers, 0.0), of_asks=False)
    entries, bodies = mutated(entries, data), mutated(bodies, data)
    try:
        got = framing.decode_replies(entries, bodies)
    except framing.ProtocolError:
        return
    assert roundtrip(*got) == got


def mutated(whole: bytes, data: st.DataObject) -> bytes:
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(changed)))
        until = at + data.draw(st.integers(0, 2))
        changed[at:until] = data.draw(st.binary(max_size=2))
    return bytes(changed)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([FAILURE, LOADED]), JSON_VALUES, st.sampled_from(sorted(TOLD)), st.booleans())
def test_json_of_another_form_is_broken(kind: int, value: Any, name: str, inside: bool) -> None:
    """Whatever JSON stands where a failure or a report should, or in a part of one."""
    body = orjson.dumps({**TOLD, name: value} if inside else value)
    try:
        got = framing.decode_replies(entry(kind, len(body)), body)
    except framing.ProtocolError:
        return
    assert roundtrip(*got) == got


@pytest.mark.parametrize(
    "told",
    [
        *(None, 1, "text", [], {}, [[]], TOLD | {"kind": "other"}, TOLD | {"kind": []}, TOLD | {"more": ""}),
        *(TOLD | {"log": None}, TOLD | {"details": None}, TOLD | {"details": ["abc"]}),
        *(TOLD | {"details": [cell]} for cell in ([0, None], ["0", None, ""], [0, 1, ""], [0, "c", None])),
    ],
)
def test_a_failure_of_another_form_is_broken(told: Any) -> None:
    """Each part of a failure is of its type, for clients read it; there are no more and no less."""
    body = orjson.dumps(told)
    with pytest.raises(framing.ProtocolError):
        framing.decode_replies(entry(FAILURE, len(body)), body)
    with pytest.raises(framing.ProtocolError):
        framing.decode_replies(entry(FAILURE, 2), b"{x")


@pytest.mark.parametrize(
    "told",
    [
        *(None, 1, "text", [], {"a": 1, "b": 2, "c": 3, "d": 4}, [1, True, True, ""], [True, True, ""]),
        *([True, True, True, None], [True, True, True, [[]]], [True, True, True, True, ""]),
    ],
)
def test_a_report_of_another_form_is_broken(told: Any) -> None:
    """What a worker says of its load has three flags and a reason."""
    body = orjson.dumps(told)
    with pytest.raises(framing.ProtocolError):
        framing.decode_replies(entry(LOADED, len(body)), body)


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
        (entry(CHUNK, 1) + entry(END, 1), b"x"),
        (b"", b"x"),
        *((entry(kind, 0, seconds=took), b"") for kind in (REPLY, CHUNK, END) for took in (nan, inf, -1.0)),
    ],
)
def test_entries_that_cannot_be_are_broken(entries: bytes, bodies: bytes) -> None:
    """Kinds and types that there are not, bodies too short or too long, cut entries, times that are none."""
    with pytest.raises(framing.ProtocolError):
        framing.decode_replies(entries, bodies)


@given(BODIES)
def test_an_entry_made_by_hand_is_read(body: bytes) -> None:
    """The form that the tests above break is the one that is read: they fail for what they say."""
    assert framing.decode_replies(entry(REPLY, len(body)), body) == (Reply(body, 0.0, wrapped=False),)
    told = orjson.dumps(TOLD | {"details": [[0, "c", "r"], [None, None, "r"]]})
    cells = (InputProblem(0, "c", "r"), InputProblem(None, None, "r"))
    assert framing.decode_replies(entry(FAILURE, len(told)), told) == (Failure("model", "m", cells),)
    report = orjson.dumps([True, False, True, "why"])
    loaded = LoadReport(0.0, preloaded=True, row_batching=RowBatching(True, "why"))
    assert framing.decode_replies(entry(LOADED, len(report)), report) == (loaded,)
