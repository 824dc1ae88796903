"""Proves what the demo prints at the end of its start."""

from __future__ import annotations

import pytest

from gateway import settings
from gateway.cli.demo.examples import example_calls, request_loop
from gateway.cli.demo.ready import ready_text

BASE = "http://127.0.0.1:8080"


def printed(**values: str) -> str:
    """Return the text for these settings."""
    return ready_text(BASE, settings.load({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", **values}))


@pytest.mark.parametrize(("console", "path"), [("off", "/docs"), ("read", "/"), ("full", "/")])
def test_the_first_line_is_the_page_to_open(console: str, path: str) -> None:
    """Without the page, its place is taken by the description of the calls; no other address is to open."""
    text = printed(GATEWAY_CONSOLE=console)
    assert text.split("\n\n")[1].startswith(f"    Open {BASE}{path} in a browser: ")
    assert text.count("Open http") == 1


def test_nodes_and_how_to_kill_one() -> None:
    """Their processes, a loop of requests, a line that kills one, and the page that shows it."""
    chosen = settings.load({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    text = ready_text(BASE, chosen, node_pids=[12, 34])
    assert "on 2 nodes, the processes 12 and 34;" in text
    assert f"\n{request_loop(BASE)}\n" in text
    assert "\nkill -9 12\n" in text
    assert f"Open {BASE}/ui/gateway in a browser" in text
    assert "kill" not in printed()


def test_a_prediction_and_a_refusal_follow() -> None:
    """Each with its answer, so that the reader need not run them to see what they show."""
    text = printed()
    prediction, refusal = example_calls(BASE)
    assert 0 < text.index(prediction.answer) < text.index(refusal.answer)
    assert '"reason":"' in refusal.answer
    assert text.endswith("To stop: Ctrl-C\n")
