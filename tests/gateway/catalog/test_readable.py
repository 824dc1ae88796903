"""Proves that a caller's list tells nothing of models that it may not read, by a real MLflow server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.errors import BadRequest
from tests.gateway.catalog.conftest import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.catalog import Catalog
    from gateway.domain.models import ModelPage
    from tests.gateway.catalog.conftest import Seeded
    from tests.support.faulty_proxy import FaultyProxy

CLOSED = "it's 100% a_b"


def only(*allowed: str) -> Callable[[Iterable[str]], object]:
    async def select(names: Iterable[str]) -> frozenset[str]:
        return frozenset(names) & frozenset(allowed)

    return select


async def all_names(catalog: Catalog, max_results: int = 100, contains: str = "") -> list[str]:
    """Return the names that everyone sees, in the list's order."""
    found, token = [], None
    while True:
        page = await catalog.list_models(max_results=max_results, page_token=token, name_contains=contains)
        found += [model.name for model in page.models]
        token = page.next_page_token
        if token is None:
            return found


async def page_of(
    catalog: Catalog, *allowed: str, size: int = 100, token: str | None = None, contains: str = ""
) -> ModelPage:
    return await catalog.list_readable(
        only(*allowed),  # type: ignore[arg-type]
        max_results=size,
        page_token=token,
        name_contains=contains,
    )


async def test_one_who_may_read_all_sees_the_same_list(catalog: Catalog) -> None:
    """In the same order, with the same details, whatever the size of the pages is."""
    everything = await catalog.list_models(max_results=100, page_token=None, name_contains="")
    names = [model.name for model in everything.models]
    assert len(names) > 5
    found = await page_of(catalog, *names)
    assert found.models == everything.models
    collected, token = [], None
    while True:
        page = await page_of(catalog, *names, size=2, token=token)
        assert len(page.models) <= 2
        collected += [model.name for model in page.models]
        token = page.next_page_token
        if token is None:
            break
    assert sorted(collected) == sorted(names)


@pytest.mark.parametrize("size", [1, 2, 100])
async def test_what_may_not_be_read_leaves_no_trace(catalog: Catalog, size: int) -> None:
    """Not in the list, not in the length of a page, and not by a token for a page that would be empty."""
    assert CLOSED in await all_names(catalog)
    page = await page_of(catalog, "wine", size=size)
    assert [model.name for model in page.models] == ["wine"]
    assert page.next_page_token is None
    for contains in (CLOSED, "100%", "no such name"):
        page = await page_of(catalog, "wine", size=size, contains=contains)
        assert (page.models, page.next_page_token) == ((), None)


async def test_a_token_is_no_way_round(catalog: Catalog) -> None:
    """Neither that of another's list, nor an invented one."""
    token = (await catalog.list_models(max_results=1, page_token=None, name_contains="")).next_page_token
    assert token is not None
    for made in (token, "AAAA", "cmVhZGFibGUKLTE=", "cmVhZGFibGUKeA==", "é"):
        with pytest.raises(BadRequest, match="not issued by this server"):
            await page_of(catalog, "wine", token=made)
    far = await page_of(catalog, "wine", token="cmVhZGFibGUKOTk5")  # noqa: S106 - position 999
    assert (far.models, far.next_page_token) == ((), None)


async def test_an_experiment_that_a_model_hides_is_not_listed(catalog: Catalog) -> None:
    """Also for one who may read that name: what is served by it is the registered model."""
    page = await page_of(catalog, *await all_names(catalog))
    names = [model.name for model in page.models]
    assert len(names) == len(set(names))


async def test_callers_share_a_search(seeded: Seeded, proxy: FaultyProxy) -> None:
    """Those at the same time, and those within the time that answers of MLflow count."""
    async with opened(proxy.url, GATEWAY_CATALOG_TTL_SECONDS="3600") as catalog:
        await asyncio.gather(*(page_of(catalog, "wine", size=1) for _ in range(20)))
        searched = len([call for call in proxy.calls if "experiments/search" in call])
        await page_of(catalog, "copied", size=1)
        again = len([call for call in proxy.calls if "experiments/search" in call])
    assert searched == again == 1
