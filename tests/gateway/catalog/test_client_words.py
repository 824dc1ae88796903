"""Proves that words of a client that MLflow rejects are an error of the client, not of MLflow."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from gateway.domain.refs import Latest, ModelRef
from gateway.errors import BadRequest, BadUpstreamResponse, NotFound
from tests.gateway.catalog.conftest import opened
from tests.support.faulty_proxy import answer, scripted

if TYPE_CHECKING:
    from gateway.catalog import Catalog
    from tests.support.faulty_proxy import FaultyProxy


def token(content: str | bytes, stage: str = "registry") -> str:
    """Return a page token in the gateway's form, with one in MLflow's form whose content is `content`."""
    content = content if isinstance(content, bytes) else content.encode()
    inner = base64.b64encode(content).decode()
    return base64.urlsafe_b64encode(f"{stage}\n{inner}".encode()).decode()


@pytest.mark.parametrize("name", ["..", " ", "\t", "a\0b", "a\ud800b", "x" * 10_000])
async def test_a_name_that_mlflow_rejects_is_not_found(catalog: Catalog, name: str) -> None:
    """Whether MLflow says 400, or its database would fail."""
    with pytest.raises(NotFound):
        await catalog.resolve(ModelRef(name, Latest()))
    with pytest.raises(NotFound):
        await catalog.get_model(name)


@pytest.mark.parametrize("status", [414, 431])
async def test_a_name_too_long_for_a_proxy_is_not_found(status: int) -> None:
    """The proxy in front of MLflow answers with a web page; other calls succeed."""
    page = answer(status, b"<html>", media_type="text/html")
    empty = answer(200, b"{}")
    async with scripted(page, empty, page, empty) as server, opened(server.url) as catalog:
        with pytest.raises(NotFound):
            await catalog.resolve(ModelRef("x" * 5000, Latest()))


async def test_a_rejected_account_is_not_a_missing_model(proxy: FaultyProxy) -> None:
    """If MLflow rejects the same call without the name, or for another reason, the name is not at fault."""
    proxy.refused = "experiments/"
    async with opened(proxy.url) as catalog:
        with pytest.raises(BadUpstreamResponse):
            await catalog.resolve(ModelRef("forest", Latest()))
    forbidden = answer(403, b'{"error_code": "PERMISSION_DENIED"}')
    async with scripted(forbidden, answer(200, b"{}")) as server, opened(server.url) as catalog:
        with pytest.raises(BadUpstreamResponse):
            await catalog.resolve(ModelRef("wine", Latest()))


@pytest.mark.parametrize("stage", ["registry", "experiment"])
@pytest.mark.parametrize(
    "content",
    ["[]", "1", "null", "{}", "nonsense", '{"offset": "x"}', '{"offset": 1e400}', '{"offset": 1.5}',
     '{"offset": 99999999999999999999}', '{"offset": %s}' % ("9" * 5000), b"\xff", "[" * 5000],
)  # fmt: skip
async def test_a_token_that_mlflow_did_not_issue(catalog: Catalog, stage: str, content: str | bytes) -> None:
    """MLflow itself answers some of these with a server error."""
    with pytest.raises(BadRequest, match="page_token was not issued"):
        await catalog.list_models(max_results=5, page_token=token(content, stage), name_contains="")
    assert catalog.unavailable_reason is None


async def test_a_token_of_other_characters(catalog: Catalog) -> None:
    """MLflow fails on a token that is not ASCII."""
    odd = base64.urlsafe_b64encode("registry\nä".encode()).decode()
    with pytest.raises(BadRequest, match="page_token was not issued"):
        await catalog.list_models(max_results=5, page_token=odd, name_contains="")


async def test_a_filter_that_mlflow_rejects(proxy: FaultyProxy) -> None:
    """A rejected search is the client's error only if the search succeeds without its filter."""
    async with opened(proxy.url) as catalog:
        proxy.refused = "experiments/search"
        with pytest.raises(BadRequest, match="filter"):
            await catalog.list_models(max_results=5, page_token=None, name_contains="zzz")
        proxy.refused = "/search"
        with pytest.raises(BadUpstreamResponse):
            await catalog.list_models(max_results=5, page_token=None, name_contains="zzz")
