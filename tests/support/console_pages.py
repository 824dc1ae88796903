"""The pages for people in a real Chromium, and in a client that asks as a browser does."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from playwright.async_api import async_playwright

from gateway.console.rows import LIVE, UNKNOWN
from tests.support.browser import find_chromium

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, BrowserContext, Page

    from tests.support.gateways import Gateway
    from tests.support.mlflow_server import MlflowServer

HTML: Final = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
"""What browsers send when a person opens an address."""

WIDTHS: Final = (1280, 360)
SCHEMES: Final = ("light", "dark")
_SECONDS: Final = 90.0
_OPTIONS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
)


async def get_html(gateway: Gateway, path: str, **headers: str) -> tuple[int, str]:
    """Return the status and the text of a page."""
    async with gateway.get(path, headers=HTML | headers) as answer:
        return answer.status, await answer.text()


async def get_state(gateway: Gateway, query: str, **headers: str) -> tuple[int, Any]:
    """Return the status and the JSON of the state that a page polls."""
    async with gateway.get(f"/console/state?{query}", headers=headers) as answer:
        return answer.status, await answer.json() if answer.status == 200 else None


async def known_rows(gateway: Gateway, query: str) -> dict[str, dict[str, str]]:
    """Return the rows of a list by name, once MLflow has said which version of each is best."""
    async with asyncio.timeout(_SECONDS):
        while True:
            _, state = await get_state(gateway, f"view=models&{query}")
            rows = {name: dict(zip(LIVE, row, strict=True)) for name, row in state["rows"].items()}
            if all(row["best"] != UNKNOWN for row in rows.values()):
                return rows
            await asyncio.sleep(0.1)


def copy_model(server: MlflowServer, source: str, name: str, *, versions: int = 1) -> None:
    """Register versions of a new model, which all have the files of version 1 of `source`."""
    found = server.call(f"model-versions/get?name={source}&version=1", {}, method="GET")
    uri = found["model_version"]["source"]
    server.call("registered-models/create", {"name": name})
    for _ in range(versions):
        body = {"name": name, "source": uri, "model_id": uri.removeprefix("models:/")}
        server.call("model-versions/create", body)


@asynccontextmanager
async def chrome() -> AsyncIterator[Browser]:
    """Run a browser; skip the test if there is none."""
    program = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(_OPTIONS))
        try:
            yield browser
        finally:
            await browser.close()


class Watched:
    """A page, and all that went wrong in it: errors, and requests to other origins."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("request", lambda request: self._check(request.url))

    async def open(self, path: str) -> None:
        """Open a page of the gateway."""
        await self.page.goto(self.origin + path)

    def _note(self, kind: str, text: str) -> None:
        if kind == "error":
            self.problems.append(text)

    def _check(self, url: str) -> None:
        if not re.match(re.escape(self.origin) + "/|data:|about:|blob:", url):
            self.problems.append(f"another origin: {url}")


@asynccontextmanager
async def watched(browser: Browser, gateway: Gateway, **context: Any) -> AsyncIterator[Watched]:
    """Open a tab, and fail at its end if anything went wrong in it; `context` is playwright's."""
    tab: BrowserContext = await browser.new_context(**context)
    tab.set_default_timeout(_SECONDS * 1000)
    try:
        found = Watched(await tab.new_page(), str(gateway.make_url("")).rstrip("/"))
        yield found
        assert not found.problems, found.problems
    finally:
        await tab.close()
