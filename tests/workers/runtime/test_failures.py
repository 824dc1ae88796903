"""No failure to describe a failure: whatever was raised, the gateway gets an answer of a bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.frames import split
from tests.support.hostile_errors import ERRORS, LOAD_ERRORS, REFUSALS
from workers.protocol import bounds, failure_body, framing
from workers.protocol.messages import Chunk, Failure, LoadReport, Reply
from workers.runtime import failures

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.protocol.messages import WorkerReply

KINDS = dict.fromkeys(REFUSALS, "input") | {"type": "type", "answer": "answer"}


def sent(*replies: WorkerReply | LoadReport) -> tuple[WorkerReply | LoadReport, ...]:
    """Return what the gateway reads."""
    _, entries, bodies = split(framing.encode_replies(replies, 0.0), of_requests=False)
    return framing.decode_replies(entries, bodies)


def described(create: Callable[[], BaseException], describe: Callable[[BaseException], Failure]) -> Failure:
    """Raise an error as a model does, and return the failure that the gateway reads."""
    try:
        raise create()
    except BaseException as error:  # noqa: BLE001 - they are of all kinds
        failure = describe(error)
    before, read, after = sent(Reply(b"1", 0.0), failure, Reply(b"2", 0.0))
    assert [before, after] == [Reply(b"1", 0.0), Reply(b"2", 0.0)]
    assert isinstance(read, Failure)
    return read


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_of_a_model(name: str) -> None:
    """It is the model's fault, with a name that is text; the other replies of the frame are sent."""
    failure = described(ERRORS[name], failures.from_predict_error)
    assert failure.kind == "model"
    assert failure.message
    if not name.startswith("model-error"):
        assert failure.exception
        assert failure.log


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_keeps_its_kind(name: str) -> None:
    """Whatever its details hold, the client gets the status of a refusal."""
    failure = described(REFUSALS[name], failures.from_predict_error)
    assert failure.kind == KINDS[name]
    assert failure.message or name == "no-text"


@pytest.mark.parametrize("name", [*ERRORS, *REFUSALS, *LOAD_ERRORS])
def test_an_error_of_a_load(name: str) -> None:
    """It is described like those of predictions; a package without a readable name is not named."""
    failure = described({**ERRORS, **REFUSALS, **LOAD_ERRORS}[name], failures.from_load_error)
    assert failure.kind == "load"
    assert failure.message.startswith(("Loading the model raised", "The model needs the Python package"))
    assert failure.log


def test_what_is_kept() -> None:
    """Details that can be written are: an integer that names a column becomes text."""
    assert [
        (problem.row, problem.column, problem.reason)
        for name in ("int-column", "tuple-column", "float-row", "wide-row", "no-reason", "details-list")
        for problem in described(REFUSALS[name], failures.from_predict_error).details
    ] == [
        (0, "5", "r"),
        (0, "('a', 1)", "r"),
        (None, "c", "r"),
        (None, "c", "r"),
        (0, "c", ""),
        (0, "c", "r"),
    ]
    assert described(ERRORS["nameless"], failures.from_predict_error).exception == "Nameless"
    assert described(ERRORS["odd-name"], failures.from_predict_error).exception == "Odd"
    assert described(ERRORS["str-odd-text"], failures.from_predict_error).text == "odd"


def test_a_traceback_that_cannot_be_formatted_whole() -> None:
    """The operator gets the frames at least."""
    log = described(ERRORS["cause-raises"], failures.from_predict_error).log
    assert "test_failures.py" in log
    assert "could not be formatted" in log


@pytest.mark.parametrize(
    "reply",
    [
        Failure("model", "m", details=5),  # type: ignore[arg-type] # on purpose
        Failure("model", "m", details=(5,)),  # type: ignore[arg-type] # on purpose
        Reply(b"1", 0.0, content_type="unknown"),
        Reply(None, 0.0),  # type: ignore[arg-type] # on purpose
        Reply(b"1", "x"),  # type: ignore[arg-type] # on purpose
        Reply(b"1", 0.0, json_length=2**70),
        Chunk(5),  # type: ignore[arg-type] # on purpose
        LoadReport(None),  # type: ignore[arg-type] # on purpose
        object(),
    ],
)
def test_a_reply_that_cannot_be_encoded(reply: WorkerReply) -> None:
    """Its place in the frame has the last answer that there is, and the others theirs."""
    before, read, after = sent(Reply(b"1", 0.0), reply, Chunk(b"2"))
    assert [before, after] == [Reply(b"1", 0.0), Chunk(b"2")]
    assert isinstance(read, Failure)
    assert read.kind == "model"


def test_a_failure_is_bounded() -> None:
    """The longest one may be sent, its short form takes few bytes, and the gateway accepts no larger one."""
    largest = Failure("input", "\x01" * 10**6, text="\x01" * 10**6, log="\x01" * 10**6)
    body = failure_body.encode(largest)
    assert len(body) <= bounds.MAX_FAILURE_BYTES
    assert len(failure_body.encode_small(body)) <= failure_body.SMALL_BYTES
    assert failure_body.SMALL_BYTES * bounds.MAX_ENTRIES <= bounds.MAX_FAILURES_BYTES
    with pytest.raises(bounds.ProtocolError, match="a failure of 262145 bytes, where 262144 are allowed"):
        failure_body.decode(b" " * (bounds.MAX_FAILURE_BYTES + 1))


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("import no_such_package_here", "package no_such_package_here, which is not installed here."),
        ("import json.no_such_part", "json.no_such_part, which the installed version of json does not have"),
        ("import _no_such_part", "module _no_such_part, which is not installed here. It may be a part"),
        ("import no_such_package_here.part", "package no_such_package_here, which is not installed here."),
        ("raise ModuleNotFoundError(name='json./secret')", "Loading the model raised ModuleNotFoundError."),
        ("raise ModuleNotFoundError(name='/secret/path')", "Loading the model raised ModuleNotFoundError."),
    ],
)
def test_a_missing_module(statement: str, told: str) -> None:
    """A package that is here in another version is not said to be missing."""
    try:
        exec(statement)  # noqa: S102 - the test's own
    except ModuleNotFoundError as error:
        failure = failures.from_load_error(error)
    assert told in failure.message
