"""Reads all pages of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from gateway.errors import BadUpstreamResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.mlflow_client.records import Page

T = TypeVar("T")

MAX_PAGES = 1000


async def all_pages(page: Callable[[str], Awaitable[Page[T]]]) -> list[T]:
    """Return the items of all pages of a search; `page` fetches the page for a token.

    Raise BadUpstreamResponse if a token repeats, or if there are more than MAX_PAGES pages.
    """
    found: list[T] = []
    token, seen = "", set[str]()
    for _ in range(MAX_PAGES):
        current = await page(token)
        found += current.items
        token = current.token
        if not token:
            return found
        if token in seen:
            break
        seen.add(token)
    raise BadUpstreamResponse("MLflow's list of results does not end.")
