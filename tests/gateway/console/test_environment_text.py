"""Proves what the page of a version says of its Python environment."""

from __future__ import annotations

from gateway.console.environment_text import hint, short
from gateway.console.text import DASH
from gateway.environments.progress import BuildProgress
from gateway.environments.state import EnvironmentState


def test_each_state_has_its_words() -> None:
    """A build has its progress and a failure its reason; otherwise the hint is that of the model."""
    assert (short(None), hint(None)) == (DASH, "")
    shared = EnvironmentState("shared")
    assert (short(shared), hint(shared)) == ("the gateway's", "")
    ready = EnvironmentState("ready", "abc", "3.10")
    assert (short(ready), hint(ready)) == ("its own, Python 3.10", "")
    assert "first start" in hint(ready, loading=True)
    progress = BuildProgress("wine/1")
    building = EnvironmentState("building", python="3.10", progress=progress)
    assert short(building) == "its own, Python 3.10: being built"
    assert "with what it requires: resolving its requirements." in hint(building)
    progress.begin(58)
    progress.reach(31)
    assert "with what it requires: 31 of 58 packages." in hint(building)
    failed = EnvironmentState("failed", reason="The package index does not answer.")
    assert short(failed) == "could not be built"
    assert hint(failed).endswith("could not be built. The package index does not answer.")
