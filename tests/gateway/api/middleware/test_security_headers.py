"""Proves that every response has the headers that restrict what a browser does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateway.api.test_malformed import MALFORMED, connection
from tests.support.web_pages import EXCHANGES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.gateways import Gateway

in_session = pytest.mark.asyncio(loop_scope="session")

KEEPS_ITS_OWN = {"a stream", "a page", "a file"}


def check(headers: Iterable[tuple[str, str]], cache_control: str) -> None:
    """Each header is there once."""
    found = [(name.lower(), value) for name, value in headers]
    for name, value in {
        "server": "model-invocation-endpoint",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": cache_control,
    }.items():
        assert [value for other, value in found if other == name] == [value]


@in_session
@pytest.mark.parametrize("what", EXCHANGES)
async def test_responses(gateway: Gateway, what: str) -> None:
    """Predictions, streams, files, errors: no cache keeps them unless their handler says so."""
    method, path, status, body, headers = EXCHANGES[what]
    sent = {"Content-Type": "application/json", "Accept-Encoding": "identity", **dict(headers)}
    async with gateway.request(method, path, data=body, headers=sent) as answer:
        assert answer.status == status
        check(answer.headers.items(), "no-cache" if what in KEEPS_ITS_OWN else "no-store")


@pytest.mark.parametrize("name", list(MALFORMED))
async def test_responses_to_what_is_not_http(name: str) -> None:
    """They do not come from the application."""
    async with connection() as (reader, writer):
        writer.write(MALFORMED[name][0])
        head = (await reader.read()).partition(b"\r\n\r\n")[0].decode()
    check((tuple(line.split(": ", 1)) for line in head.splitlines()[1:]), "no-store")  # type: ignore[misc]
