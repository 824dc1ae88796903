"""Proves which request ids are used."""

from __future__ import annotations

import pytest

from gateway.api.middleware.request_id import RequestIdGenerator


@pytest.mark.parametrize("given", ["a", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "x" * 128])
def test_a_plain_id_is_kept(given: str) -> None:
    """The client finds its request under its own id."""
    assert RequestIdGenerator().get(given) == given


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a\nb", "<script>", "ä", '"'])
def test_any_other_is_replaced(given: str | None) -> None:
    """By one that no other request of this or of another process has."""
    ids, others = RequestIdGenerator(), RequestIdGenerator()
    made = {ids.get(given), ids.get(given), others.get(given)}
    assert len(made) == 3
    assert given not in made
