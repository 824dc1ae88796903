"""Proves in a real Chromium that pages of other origins can neither change nor read anything.

The gateway is reached by its address, where the browser names a request's site (`Sec-Fetch-Site`), and by a
name without TLS, where it does not. Each attack also runs as a page of the allowed origin, where it succeeds.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pytest
import pytest_asyncio
from aiohttp import web

from gateway.api.keys import COMPONENTS
from tests.support import page_scripts
from tests.support.browser import Browser, Page, chromium, find_chromium
from tests.support.gateways import BODY, Gateway, gateway_at
from tests.support.page_scripts import ATTACKS, LOAD, READS, UNLOAD, WITHOUT_ORIGIN
from tests.support.waiting import until
from tests.support.web_pages import EXCHANGES, STREAM, SUMS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.mlflow_server import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


class Site(NamedTuple):
    """A gateway, a browser, and a server of pages on any name."""

    gateway: Gateway
    browser: Browser
    pages: int

    def url(self, by: str) -> str:
        """Return the gateway's URL: by its address, or by its name."""
        return f"http://{'127.0.0.1' if by == 'address' else 'models.example.org'}:{self.gateway.port}"

    async def page_of(self, host: str, by: str) -> Page:
        """Open a page of another server, where `G` is the gateway's URL and `R` a place that redirects."""
        page = await self.browser.new_page()
        await page.open(f"http://{host}:{self.pages}/")
        await page.run(f"var G = {json.dumps(self.url(by))}, R = location.origin + '/redirect'; 0")
        return page

    def seen(self) -> Counter[tuple[str, str]]:
        """Return how many requests the gateway has answered, by method and status; reads are left out."""
        requests = self.gateway.app[COMPONENTS].request_counters.requests()
        found: Counter[tuple[str, str]] = Counter()
        for (method, _, status), times in requests:
            if method not in {"GET", "HEAD"}:
                found[method, status] += int(times)
        return found


def pages() -> web.Application:
    """Return a server of an empty page, and of redirects."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>page</title><body></body>", content_type="text/html")

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(request.query["to"])

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_post("/redirect", redirect)
    return app


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """Run all three; the pages of `app.example.org` are allowed."""
    find_chromium()
    runner = web.AppRunner(pages())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        values = {
            "GATEWAY_ALLOWED_HOSTS": "models.example.org",
            "GATEWAY_ALLOWED_ORIGINS": f"http://app.example.org:{port}",
            "GATEWAY_MAX_BODY_BYTES": "1000000",
        }
        async with (
            gateway_at(mlflow_server.url, tmp_path_factory.mktemp("cache"), **values) as gateway,
            chromium(tmp_path_factory.mktemp("browser"), hosts="*.example*") as browser,
        ):
            yield Site(gateway, browser, port)
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="session")
async def loaded(site: Site) -> Site:
    """Both, with a model loaded."""
    async with site.gateway.post(SUMS, data=BODY, headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 200
    return site


both = pytest.mark.parametrize("by", ["address", "name"])


@both
@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1"])
@pytest.mark.parametrize("what", ATTACKS)
async def test_a_page_of_another_origin_changes_nothing(loaded: Site, what: str, host: str, by: str) -> None:
    """Every request of it that could is refused, also from a page on another port of the same address."""
    page, before = await loaded.page_of(host, by), loaded.seen()
    await page.run(f"Promise.resolve({ATTACKS[what]}).catch(() => 0)")
    await until(lambda: loaded.seen() != before)
    assert {status for _, status in loaded.seen() - before} == {"403"}
    engine = loaded.gateway.app[COMPONENTS].engine
    assert {key.name for key in engine.statuses() if engine.is_loaded(key)} == {"api-sums"}


@both
@pytest.mark.parametrize("what", ATTACKS)
async def test_what_the_attacks_do_where_they_are_allowed(loaded: Site, what: str, by: str) -> None:
    """The same requests of an allowed origin are taken, so the tests above show what refuses them."""
    page, before = await loaded.page_of("app.example.org", by), loaded.seen()
    await page.run(f"Promise.resolve({ATTACKS[what]}).catch(() => 0)")
    await until(lambda: loaded.seen() != before)
    status = "403" if what in WITHOUT_ORIGIN else "200"
    assert loaded.seen()["POST", status] > before["POST", status]


async def test_json_of_another_origin(loaded: Site) -> None:
    """The browser asks first, and is refused; the request itself is never sent."""
    page, before = await loaded.page_of("attacker.example", "address"), loaded.seen()
    headers = "{'Content-Type': 'application/json'}"
    sent = f"fetch(G + '{SUMS}', {{method: 'POST', headers: {headers}, body: '{{}}'}})"
    script = f"{sent}.then(() => 'sent', e => e.message)"
    assert await page.run(script) == "Failed to fetch"
    assert loaded.seen() - before == {("OPTIONS", "403"): 1}


@both
@pytest.mark.parametrize("what", READS)
async def test_a_page_of_another_origin_reads_nothing(site: Site, what: str, by: str) -> None:
    """It learns neither what the gateway answers nor, but for a frame, whether it answers."""
    page = await site.page_of("attacker.example", by)
    assert await page.run(READS[what]) == "blocked"


async def test_a_name_that_leads_to_the_gateway(loaded: Site) -> None:
    """A rebound page is of the same origin for the browser; it gets 421 for every request."""
    page, before = await loaded.browser.new_page(), loaded.seen()
    for path in ("/model/", "/docs", "/metrics", "/v2"):
        await page.open(f"http://rebind.attacker.example:{loaded.gateway.port}{path}")
        assert await page.run("performance.getEntriesByType('navigation')[0].responseStatus") == 421
        assert "'rebind.attacker.example:" in await page.run("document.body.innerText")
    for path in (UNLOAD, LOAD, SUMS):
        script = f"fetch('{path}', {{method: 'POST', body: '{{}}'}}).then(r => r.status)"
        assert await page.run(script) == 421
    assert (loaded.seen() - before).keys() == {
        ("POST", "421")
    }  # Chromium tries each once more, RFC 9110, 15.5.20
    await page.open(f"{loaded.url('name')}/model/")  # a name that is allowed
    assert "api-sums" in await page.run("document.body.innerText")


@both
async def test_a_page_of_an_allowed_origin(loaded: Site, by: str) -> None:
    """It sends JSON with credentials of its own, after a preflight, and reads answers, streams and errors."""
    page, before = await loaded.page_of("app.example.org", by), loaded.seen()
    status, request_id, version, text = await page.run(page_scripts.invoke(SUMS, BODY))
    assert (status, request_id, version) == (200, "of-a-page", "1")
    assert json.loads(text)["predictions"] == [3.0, 7.0]
    assert loaded.seen() - before == {("OPTIONS", "204"): 1, ("POST", "200"): 1}
    status, _, _, text = await page.run(page_scripts.invoke(STREAM, EXCHANGES["a stream"].body or b""))
    assert (status, text) == (200, 'data: "a"\n\ndata: [DONE]\n\n')
    status, request_id, _, text = await page.run(page_scripts.invoke("/model/nowhere/1/invocation", BODY))
    assert (status, request_id, json.loads(text)["request_id"]) == (404, "of-a-page", "of-a-page")
    large = await page.run(page_scripts.invoke(SUMS, EXCHANGES["a large answer"].body or b""))
    assert (large[0], len(large[3])) > (200, 2**20)
    assert "api-sums" in await page.run(READS["a fetch"])


async def test_what_an_allowed_origin_may_not_do(site: Site) -> None:
    """It may not use credentials of the browser, or headers and methods that the gateway does not know."""
    page = await site.page_of("app.example.org", "address")
    assert await page.run(READS["a fetch with credentials"]) == "blocked"
    assert (
        await page.run("fetch(G + '/model', {headers: {'X-Other': '1'}}).then(() => 1, () => 'blocked')")
        == "blocked"
    )
    assert (
        await page.run("fetch(G + '/model', {method: 'DELETE'}).then(() => 1, () => 'blocked')") == "blocked"
    )


@both
async def test_trying_a_call_on_the_page_of_the_documentation(loaded: Site, by: str) -> None:
    """Its own requests are of the same origin, and are answered."""
    page = await loaded.browser.new_page()
    await page.open(f"{loaded.url(by)}/docs")
    operation = "#operations-invocation-invoke"
    await page.wait_for(f"document.querySelector('{operation} .opblock-summary-control') !== null")
    await page.run(f"document.querySelector('{operation} .opblock-summary-control').click()")
    await page.wait_for(f"document.querySelector('{operation} .try-out__btn') !== null")
    await page.run(f"document.querySelector('{operation} .try-out__btn').click()")
    await page.wait_for(f"document.querySelector('{operation} textarea') !== null")
    await page.type_into(f"{operation} [data-param-name=name] input", "api-sums")
    await page.type_into(f"{operation} [data-param-name=version] input", "1")
    await page.type_into(f"{operation} textarea", BODY.decode())
    await page.run(f"document.querySelector('{operation} .execute').click()")
    answer = await page.wait_for(
        f"document.querySelector('{operation} .live-responses-table .response')?.innerText"
    )
    assert answer.startswith("200")
    assert "predictions" in answer
