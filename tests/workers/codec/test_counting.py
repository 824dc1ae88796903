"""Bytes of large bodies are counted exactly."""

from __future__ import annotations

import pytest

from workers.codec.counting import count_bytes

BODY = (b"[{]}" * 3 + b"x;{") * 50_000


@pytest.mark.parametrize("body", [b"", b"[", BODY, BODY + b"{"])
def test_the_count(body: bytes) -> None:
    """Every bracket and brace that opens counts, wherever the chunks of the body end; nothing else does."""
    assert count_bytes(body, b"[") == body.count(b"[")
    assert count_bytes(body, b"[", mask=0xDF) == body.count(b"[") + body.count(b"{")
