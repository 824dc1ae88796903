"""Proves which ids of clients are kept."""

from __future__ import annotations

import pytest

from gateway.api.middleware.request_id import RequestIdGenerator


@pytest.mark.parametrize("given", ["a", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "x" * 128])
def test_a_valid_id(given: str) -> None:
    """It is kept, so that the client finds its request under its own id."""
    assert RequestIdGenerator().get(given) == given


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a\nb", "<script>", "ä", '"'])
def test_any_other_id(given: str | None) -> None:
    """It is replaced by one that no other request of this or another process has."""
    generator, other_process = RequestIdGenerator(), RequestIdGenerator()
    ids = {generator.get(given), generator.get(given), other_process.get(given)}
    assert len(ids) == 3
    assert given not in ids
