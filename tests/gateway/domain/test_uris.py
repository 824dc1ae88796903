"""Proves that no password of an address is shown."""

from __future__ import annotations

import pytest

from gateway.domain.uris import strip_password


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sftp://user:secret@host/path", "sftp://user@host/path"),
        ("ftp://user:sec@ret@host:21/a", "ftp://user@host:21/a"),
        ("ftp://:secret@host/a", "ftp://@host/a"),
        ("wasbs://container@account.blob.example/a", "wasbs://container@account.blob.example/a"),
        ("s3://bucket/a:b@c/d", "s3://bucket/a:b@c/d"),
        ("mlflow-artifacts:/1/models/m-1/artifacts", "mlflow-artifacts:/1/models/m-1/artifacts"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
    ],
)
def test_without_password(uri: str, shown: str) -> None:
    """All else stays."""
    assert strip_password(uri) == shown
