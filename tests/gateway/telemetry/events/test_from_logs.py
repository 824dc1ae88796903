"""Proves which records of the log become events, and that hostile texts in them are bounded."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest

from gateway.telemetry import logs
from gateway.telemetry.events.from_logs import SOURCES, EventFields, to_event

SRC = Path(__file__).parents[4] / "src"


def event(level: int = logging.INFO, **fields: object) -> EventFields | None:
    record = logging.makeLogRecord({"levelno": level, "msg": "Traceback /etc/secret", **fields})
    return to_event(record)


def test_other_records_are_none() -> None:
    """Neither records without an event nor those whose event is not among the sources."""
    assert event() is event(event="request_failed", model="a/1") is event(event=["odd"]) is None


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        ("worker_exited", "a/b/3", ("a/b", "3")),
        ("version_switched", "a/b@champion", ("a/b", "@champion")),
        ("version_switched", "a@b/latest", ("a@b", "latest")),
        ("version_switched", "a/best", ("a", "best")),
        ("version_switched", "a/best@b", ("a/best", "@b")),
    ],
)
def test_the_model_and_its_version(name: str, model: str, expected: tuple[str, str]) -> None:
    """Names may have slashes and at signs."""
    found = event(event=name, model=model, version="7")
    assert found is not None
    assert (found.model, found.version) == expected


def test_the_request_id() -> None:
    """Only what happens for a request has one: a worker's exit has none."""
    token = logs.request_id.set("id-1" * 100)
    try:
        loaded = event(event="model_loaded", model="a/1", seconds=0.25, workers=2)
        died = event(logging.ERROR, event="worker_exited", model="a/1")
    finally:
        logs.request_id.reset(token)
    assert loaded is not None
    assert loaded.request_id == ("id-1" * 100)[:128]
    assert loaded.text == "Loaded in 0.25 s by 2 workers."
    assert died is not None
    assert (died.request_id, died.level) == ("", "error")


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("node_loaded", "loaded", "Loaded on a node of the fleet."),
        ("node_load_failed", "load_failed", "Could not be loaded: no module"),
        ("node_unloaded", "evicted", "Not loaded any more on a node of the fleet."),
    ],
)
def test_models_on_nodes(name: str, kind: str, text: str) -> None:
    """They are events of the model, which callers without `status` see too: none names the node."""
    found = event(event=name, node="a", model="m/1", reason="no module")
    assert found is not None
    assert (found.kind, found.model, found.version, found.text) == (kind, "m", "1", text)


@pytest.mark.parametrize(
    ("name", "level", "text"),
    [
        ("node_connected", logging.INFO, "The node a is connected."),
        ("node_lost", logging.WARNING, "The node a is lost, and tried again: No message came for 3 s."),
        (
            "node_unreachable",
            logging.WARNING,
            "The node a cannot be reached, and is tried again: It does not answer.",
        ),
        ("node_refused", logging.ERROR, "The node a cannot be used: The token is not the node's."),
    ],
)
def test_nodes(name: str, level: int, text: str) -> None:
    """They are events of the gateway, and of no model, so that only callers with `status` see them."""
    reason = text.partition(": ")[2]
    found = event(level, event=name, node="a", address="a:8443", reason=reason)
    assert found is not None
    assert (found.kind, found.model, found.version, found.text) == (name, "", "", text)


def test_processes_that_share_models_are_no_fleet() -> None:
    """What one of them logs of the process that has the models is no event of a node."""
    record = logging.makeLogRecord({"levelno": logging.INFO, "event": "node_connected", "node": "a"})
    assert to_event(record) is not None
    assert to_event(record, of_nodes=False) is None


def test_hostile_texts() -> None:
    """A reason is one line of bounded length without users of addresses; the message is not in the event."""
    reason = "no\nmodule\x1b[31m \ud800 http://user:secret@host/x?sig=1 " + "x" * 10_000_000
    found = event(logging.ERROR, event="model_load_failed", model="m" * 5000 + "/1", reason=reason)
    assert found is not None
    assert len(found.text) == 300
    assert found.text.isprintable()
    assert found.text.startswith("Could not be loaded: no module")
    assert not {"secret", "sig"} & set(found.text.replace("/", " ").replace("=", " ").split())
    assert "Traceback" not in found.text
    assert (len(found.model), found.version) == (256, "1")


def test_every_source_is_logged() -> None:
    """An event whose record was renamed would never come: each name stands in the code that logs it."""
    files = [path for path in SRC.rglob("*.py") if path.parent.name not in {"events", "console"}]
    texts = {
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(SOURCES) <= texts
