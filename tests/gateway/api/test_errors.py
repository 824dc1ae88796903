"""Proves that the table has every error, and that no message reveals too much."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

import gateway.errors
import workers.errors
from gateway.api import errors
from workers.errors import InvalidInput, ModelError, QueueFull
from workers.protocol.messages import InputProblem

if TYPE_CHECKING:
    from types import ModuleType


def subclasses(module: ModuleType, root: type[Exception]) -> list[type[Exception]]:
    """Return every error class of the module below `root`."""
    return [each for each in vars(module).values() if isinstance(each, type) and root in each.__mro__[1:]]


ALL_ERRORS = [
    *subclasses(gateway.errors, gateway.errors.GatewayError),
    *subclasses(workers.errors, workers.errors.WorkerError),
]


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_every_domain_error_is_in_the_table(kind: type[Exception]) -> None:
    """A new error class without a status would look like a fault of the gateway."""
    problem = errors.to_problem(kind("why"), model_error_text=False)
    assert problem is not None
    assert problem.status in {400, 404, 406, 409, 415, 422, 424, 500, 502, 503, 504}
    assert problem.message == "why"
    assert ("Retry-After" in problem.headers) == (problem.status == 503)


def test_the_error_body() -> None:
    """It has MLflow's code, the message, the request id, and the wrong cells."""
    error = InvalidInput("wrong", (InputProblem(0, "a", "not a number"), InputProblem(None, None, "too few")))
    problem = errors.to_problem(error, model_error_text=False)
    assert problem is not None
    response = problem.response("id-1", "/model/wine")
    assert isinstance(response.body, bytes)
    assert response.status == 400
    assert response.headers["X-Request-Id"] == "id-1"
    assert response.content_type == "application/json"
    assert json.loads(response.body) == {
        "error_code": "INVALID_PARAMETER_VALUE",
        "message": "wrong",
        "request_id": "id-1",
        "details": [
            {"row": 0, "column": "a", "reason": "not a number"},
            {"row": None, "column": None, "reason": "too few"},
        ],
        "details_total": 2,
    }


@pytest.mark.parametrize(("total", "told"), [(1000, {}), (1001, {"details_total_exact": False})])
def test_wrong_cells_are_counted_up_to_a_bound(total: int, told: dict[str, bool]) -> None:
    """The body says so if there are more than are counted."""
    problem = errors.to_problem(
        InvalidInput("wrong", (InputProblem(0, "a", "r"),), total=total), model_error_text=False
    )
    assert problem is not None
    body = json.loads(problem.body("id-1"))
    assert body["details_total"] == 1000
    assert {name: value for name, value in body.items() if name == "details_total_exact"} == told


def test_the_text_of_a_models_exception() -> None:
    """The setting decides whether the client gets it; the client never gets the trace."""
    error = ModelError("The model raised ValueError.", exception="ValueError", text="row 3", log="Traceback")
    hidden, shown = (errors.to_problem(error, model_error_text=allowed) for allowed in (False, True))
    assert hidden is not None
    assert shown is not None
    assert hidden.message == "The model raised ValueError."
    assert shown.message == "The model raised ValueError. row 3"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (web.HTTPNotFound(), 404, "ENDPOINT_NOT_FOUND"),
        (web.HTTPRequestEntityTooLarge(max_size=1, actual_size=2), 413, "RESOURCE_LIMIT_EXCEEDED"),
        (web.HTTPUpgradeRequired(), 426, "BAD_REQUEST"),
    ],
)
def test_aiohttps_own_errors(error: web.HTTPException, status: int, code: str) -> None:
    """They have the same form, with one of MLflow's codes and a message."""
    problem = errors.to_problem(error, model_error_text=False)
    assert problem is not None
    assert (problem.status, problem.code) == (status, code)
    assert problem.message.endswith(".")


def test_a_wrong_method() -> None:
    """405 names the right methods in the Allow header."""
    problem = errors.to_problem(web.HTTPMethodNotAllowed("PUT", ["GET", "HEAD"]), model_error_text=False)
    assert problem is not None
    assert (problem.status, problem.headers["Allow"]) == (405, "GET,HEAD")


def test_an_unknown_error() -> None:
    """The table does not have it, and the client learns only the request id."""
    assert errors.to_problem(KeyError("secret"), model_error_text=True) is None
    assert errors.internal_error().status == 500
    assert QueueFull in ALL_ERRORS
