"""Proves what the path of a request says."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.api.paths import get_relative_root


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/openapi.json", "."),
        ("/openapi.json?x=/a/b", "."),
        ("/docs/", ".."),
        ("/model/wine/1", "../.."),
        ("/model/a%2Fb/1/openapi.json", "../../.."),
    ],
)
def test_the_relative_root(path: str, root: str) -> None:
    """It is resolved against the URL of the request, in which a name may have an encoded slash."""
    assert get_relative_root(make_mocked_request("GET", path)) == root
    assert urljoin(f"http://example/ml{path}", root) == "http://example/ml/"
