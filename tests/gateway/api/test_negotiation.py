"""Proves which media type an Accept header selects."""

from __future__ import annotations

import pytest

from gateway.api.negotiation import negotiate_media_type
from workers.protocol.messages import ARROW, CSV, JSON, PARQUET


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("*/*", JSON),
        ("", JSON),
        ("application/json", JSON),
        ("Application/JSON; q=0.5", JSON),
        ("text/html, application/*;q=0.1", JSON),
        ("text/html, */*;q=0", None),
        ("application/json;q=0, */*", CSV),
        ("*/*;q=0, application/json", JSON),
        ("text/html", None),
        ("application/json;q=nonsense", JSON),
        ("application/json;level=1", JSON),
        ("application/json;q=0, application/json", JSON),
        ("text/csv", CSV),
        ("TEXT/*", CSV),
        (PARQUET, PARQUET),
        (ARROW, ARROW),
        ("text/csv, application/json", JSON),
        ("text/csv, */*;q=0.8", CSV),
        (f"{ARROW};q=0.9, text/csv;q=0.5", ARROW),
        ("application/*, text/csv;q=0", JSON),
        ("text/csv;q=0", None),
    ],
)
def test_accept(accept: str, chosen: str | None) -> None:
    """The highest weight wins, JSON in a tie; a weight of 0 excludes; the most exact match decides."""
    assert negotiate_media_type(accept) == chosen
