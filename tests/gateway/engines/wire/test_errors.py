"""Errors that cross the wire: the class and its fields arrive, and no error of a fault tells what it was."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings

from gateway import errors as gateway_errors
from gateway.concurrency.singleflight import SingleFlightClosed
from gateway.engines.wire.errors import error_from_dict, error_to_dict
from gateway.engines.wire.fields import WireError
from tests.support.frames import SURROGATES
from workers import errors
from workers.protocol.messages import InputProblem

ERRORS: list[Exception] = [
    errors.InvalidInput("m", (InputProblem(3, "a", "r"), InputProblem(None, None, "s")), total=1001),
    errors.QueueFull("m", wait_seconds=2.5),
    errors.ModelError("m", exception="ValueError", text="t", log="l"),
    errors.ModelLoadError("m", log="l"),
    errors.EnvironmentBroken("m", digest="d", package="p", log="l"),
    *[
        kind("m")
        for module in (errors, gateway_errors)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ],
]


def sent(error: BaseException) -> Exception:
    return error_from_dict(orjson.loads(orjson.dumps(error_to_dict(error))))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_each_error_arrives_as_it_was(error: Exception) -> None:
    """Every class of both trees arrives as itself, with its message and all of its fields."""
    arrived = sent(error)
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))


def test_a_class_that_is_not_known_here_arrives_as_its_nearest_base() -> None:
    """A node of the next version may raise what this gateway does not know."""
    new = {"classes": ["Newer", "EnvironmentBroken", "ModelLoadError", "WorkerError"], "message": "m"}
    assert type(error_from_dict(new)) is errors.EnvironmentBroken
    assert type(error_from_dict({"classes": ["Newer"], "message": "m"})) is errors.WorkerError


def test_a_fault_of_the_node_tells_nothing() -> None:
    """The text of an exception that is in no tree may have paths or data."""
    arrived = sent(OSError("/secret/path"))
    assert type(arrived) is errors.WorkerError
    assert "secret" not in str(arrived)


def test_a_load_that_a_shutdown_ended_arrives_as_a_closed_pool() -> None:
    """So that the gateway tries another node."""
    assert type(sent(SingleFlightClosed("stopping"))) is errors.PoolClosed


@settings(deadline=None)
@given(SURROGATES)
def test_texts_that_are_no_unicode_arrive_all_the_same(text: str) -> None:
    """A model may raise an exception whose text no JSON can hold."""
    arrived = sent(errors.ModelError(text, exception=text, text=text, log=text))
    assert type(arrived) is errors.ModelError


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"classes": "ModelError", "message": "m"},
        {"classes": [1], "message": "m"},
        {"classes": ["InvalidInput"], "message": "m", "details": [[1]], "total": 1},
        {"classes": ["InvalidInput"], "message": "m", "details": [5], "total": 1},
        {"classes": ["QueueFull"], "message": "m", "wait_seconds": -1},
        {"classes": ["ModelError"], "message": 3},
    ],
)
def test_what_is_no_error_is_refused(value: object) -> None:
    """It ends the link, as any other message that is not valid."""
    with pytest.raises(WireError):
        error_from_dict(value)
