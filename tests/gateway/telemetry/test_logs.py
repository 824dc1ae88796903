"""Proves the two formats of the log."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Literal

import pytest

from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    """Restore the process' logging after each test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("gateway", "workers"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_json_lines_hold_extras_the_request_id_and_the_trace() -> None:
    """Each record is one line of JSON, whatever it contains."""
    stream = io.StringIO()
    logs.configure("info", "auto", stream=stream)
    token = logs.request_id.set("abc-1")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("gateway.x").exception("it %s", "failed", extra={"status": 500, "odd": {1, 2}})
    finally:
        logs.request_id.reset(token)
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry["trace"].endswith("ValueError: two\nlines")
    assert entry["time"].endswith("Z")
    assert (entry["level"], entry["logger"], entry["message"]) == ("error", "gateway.x", "it failed")
    assert (entry["request_id"], entry["status"], entry["odd"]) == ("abc-1", 500, "{1, 2}")


def test_text_for_a_terminal_cannot_be_forged() -> None:
    """A name with a line break stays on its line."""
    stream = Terminal()
    logs.configure("info", "auto", stream=stream)
    logging.getLogger("gateway.x").warning("model %s", "a\n2026 error forged", extra={"model": "b\x1b[31m"})
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(r"warning gateway.x: model a\n2026 error forged model=b\x1b[31m")


def test_text_with_a_trace() -> None:
    """The trace follows below the line."""
    stream = io.StringIO()
    logs.configure("info", "text", stream=stream)
    logging.getLogger("gateway.x").error("it failed", exc_info=ValueError("why"))
    assert stream.getvalue().splitlines()[-1] == "ValueError: why"


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_one_of_several_processes(log_format: Literal["json", "text"]) -> None:
    """Each record has the number of the process, whichever logger made it."""
    stream = io.StringIO()
    logs.configure("info", log_format, stream=stream, process=2)
    logging.getLogger("other").warning("so")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["process"] == 2 if log_format == "json" else line.endswith(": so process=2")


def test_levels() -> None:
    """The level is for the gateway's own records; other packages log from warning on; none twice."""
    stream = io.StringIO()
    logs.configure("debug", "json", stream=stream)
    logs.configure("info", "json", stream=stream)
    for name in ("gateway.x", "workers", "other"):
        for level in ("debug", "info", "warning"):
            getattr(logging.getLogger(name), level)(level)
    entries = map(json.loads, stream.getvalue().splitlines())
    assert [(entry["logger"], entry["level"]) for entry in entries] == [
        ("gateway.x", "info"),
        ("gateway.x", "warning"),
        ("workers", "info"),
        ("workers", "warning"),
        ("other", "warning"),
    ]


def test_a_level_above_info_hides_what_the_ring_of_events_needs() -> None:
    """The stream has the gateway's records of that level only, and those of other packages as before."""
    stream = io.StringIO()
    logs.configure("error", "json", stream=stream)
    seen: list[str] = []

    class Ring(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    ring = Ring(logging.INFO)
    own = logging.getLogger("gateway")
    own.addHandler(ring)
    try:
        for name in ("gateway.x", "other", "gatewayish"):
            for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
                logging.getLogger(name).log(level, "%s %d", name, level)
    finally:
        own.removeHandler(ring)
    shown = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert shown == ["gateway.x 40", "other 30", "other 40", "gatewayish 30", "gatewayish 40"]
    assert seen == ["gateway.x 20", "gateway.x 30", "gateway.x 40"]
