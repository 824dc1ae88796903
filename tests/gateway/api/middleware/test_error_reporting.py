"""Proves what the client and what the log get of an error."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway import settings
from gateway.api.middleware.error_reporting import ErrorReporter
from gateway.errors import INTERNAL_ERRORS, NotFound
from gateway.settings import CurrentSettings
from gateway.system.log_throttle import LogThrottle
from workers.errors import ModelError, QueueFull
from workers.metrics import Counters

if TYPE_CHECKING:
    from gateway.api.errors import Problem

MODEL_ERROR = ModelError(
    "The model raised ValueError.", exception="ValueError", text="row 3", log="Traceback"
)


def report(error: Exception, counters: Counters | None = None, **values: str) -> Problem:
    reporter = ErrorReporter(
        CurrentSettings(settings.load(values)), counters=counters or Counters(), log_throttle=LogThrottle()
    )
    return reporter.report(error, make_mocked_request("GET", "/model/wine"))


@pytest.mark.parametrize("setting", ["true", "false"])
def test_the_text_of_a_models_error(setting: str, caplog: pytest.LogCaptureFixture) -> None:
    """The setting decides whether the client gets it; the log has it, and the worker's own log, anyway."""
    problem = report(MODEL_ERROR, GATEWAY_MODEL_ERROR_TEXT=setting)
    assert problem.status == 500
    assert ("row 3" in problem.message) is (setting == "true")
    (record,) = caplog.records
    fields = vars(record)
    assert (record.levelno, fields["event"], fields["status"]) == (logging.WARNING, "request_failed", 500)
    assert (fields["reason"], fields["log"]) == (
        "ModelError: The model raised ValueError. (row 3)",
        "Traceback",
    )


def test_a_clients_own_fault(caplog: pytest.LogCaptureFixture) -> None:
    """It is not logged: any client could fill the log."""
    assert report(NotFound("No such model.")).status == 404
    assert caplog.records == []


def test_an_unknown_error(caplog: pytest.LogCaptureFixture) -> None:
    """It counts as a fault of the gateway and is logged with its trace."""
    counters = Counters()
    assert report(KeyError("s3cr3t"), counters).code == "INTERNAL_ERROR"
    assert counters.value(INTERNAL_ERRORS, "request") == 1
    (record,) = caplog.records
    assert (record.levelno, vars(record)["event"]) == (logging.ERROR, "internal_error")
    assert record.exc_info


def test_many_rejections(caplog: pytest.LogCaptureFixture) -> None:
    """Only the first of a kind is logged; the next line that is allowed says how many were suppressed."""
    now = 0.0
    throttle = LogThrottle(10.0, clock=lambda: now)
    reporter = ErrorReporter(CurrentSettings(settings.load({})), counters=Counters(), log_throttle=throttle)
    request = make_mocked_request("GET", "/model/wine")
    for _ in range(5):
        assert reporter.report(QueueFull("full"), request).status == 503
    assert len(caplog.records) == 1
    now = 10.0
    reporter.report(QueueFull("full"), request)
    assert [vars(record).get("suppressed") for record in caplog.records] == [None, 4]
