"""Addresses in what other programs print."""

from __future__ import annotations

import pytest

from gateway.system.redaction import redact_urls


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "cannot open postgresql://app:s3cret@db:5432/x: refused",
            "cannot open postgresql://***@db:5432/x: refused",
        ),
        ("GET https://a.blob.example/m?sv=1&sig=abc%3D 403", "GET https://a.blob.example/m?*** 403"),
        ("'https://u:p@h/p?X-Amz-Signature=ff' and s3://b/k", "'https://***@h/p?***' and s3://b/k"),
        ("sftp://u:p@ss@h/p", "sftp://***@h/p"),
        ("no address, but a question? yes@no", "no address, but a question? yes@no"),
        ("http://h/a@b", "http://h/a@b"),
    ],
)
def test_users_and_queries_are_hidden(text: str, shown: str) -> None:
    """What else the text says stays."""
    assert redact_urls(text) == shown
