"""Proves in a real Chromium what people see: states without a reload, events, access, and no barrier."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from collections.abc import AsyncIterator  # noqa: TC003 - pytest reads the types of fixtures
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe

from gateway.auth.access_file.key import new_key
from gateway.console.serving import PROCESS
from tests.support import access_files
from tests.support.console_pages import SCHEMES, WIDTHS, chrome, copy_model, watched
from tests.support.faulty_proxy import faulty_proxy
from tests.support.gateways import BODY, NO_WALL, Gateway, gateway_at, invoke, pool_of
from tests.support.register_waiting_model import NAME as WAITS
from tests.support.reported_nodes import PlayedNodes, node

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

    from tests.end_to_end.conftest import Start
    from tests.support.mlflow_server import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

PAGES = {
    "models": "/?q=api-",
    "model": "/ui/models/api-sums",
    "version": "/ui/models/api-wine/1",
    "about": "/ui/models/api-wine/1#about",
    "serving": "/ui/models/api-wine/1#serving",
    "events": "/ui/events",
    "gateway": "/ui/gateway",
}
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One browser for all tests."""
    async with chrome() as running:
        yield running


@pytest.fixture(autouse=True)
def events_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """As `gateway serve` does, whatever GATEWAY_LOG_LEVEL is."""
    for name in ("gateway", "workers"):
        caplog.set_level(logging.INFO, name)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """A gateway of this module, in which no model is warm at first."""
    async with gateway_at(
        mlflow_server.url, tmp_path_factory.mktemp("cache"), GATEWAY_CONSOLE="full"
    ) as client:
        yield client


async def test_a_cold_model_becomes_warm_on_the_screen(
    browser: Browser, mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Without a reload: cold, then loading, then warm; the same event is on the page of events."""
    gate = tmp_path / "gate"
    mlflow_server.module("tests.support.register_waiting_model", str(gate))
    async with (
        gateway_at(mlflow_server.url, tmp_path / "cache", **NO_WALL) as gateway,
        watched(browser, gateway) as tab,
        watched(browser, gateway) as events,
    ):
        await tab.open(f"/?q={WAITS}")
        await events.open("/ui/events")
        state = tab.page.locator(f'[data-row="{WAITS}"] [data-col=state_text]')
        assert await state.inner_text() == "cold"
        running = asyncio.create_task(invoke(gateway, f"/model/{WAITS}/1/invocation"))
        await tab.page.locator(f'[data-row="{WAITS}"][data-state=loading]').wait_for()
        gate.touch()
        await tab.page.locator(f'[data-row="{WAITS}"][data-state=warm]').wait_for()
        assert await state.inner_text() == "warm v1"
        assert (await running)[0] == 200
        await events.page.locator("[data-events] li", has_text=WAITS).first.wait_for()


async def test_a_moved_alias_is_on_the_screen(
    browser: Browser, mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The open list has the alias' new version, and the open page of the model the reasons."""
    name = "console-alias"
    copy_model(mlflow_server, "api-tens", name, versions=2)
    alias = {"name": name, "alias": "champion"}
    mlflow_server.call("registered-models/alias", {**alias, "version": "1"})
    async with (
        gateway_at(mlflow_server.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="1") as gateway,
        watched(browser, gateway) as tab,
        watched(browser, gateway) as model,
    ):
        await tab.open(f"/?q={name}")
        await model.open(f"/ui/models/{name}")
        for version in ("1", "2"):
            mlflow_server.call("registered-models/alias", {**alias, "version": version})
            row = tab.page.locator(f'[data-row="{name}"] [data-col=aliases]')
            await row.get_by_text(f"@champion v{version}").wait_for()
            named = model.page.locator('[data-live="alias:champion"]')
            await named.get_by_text(f"version {version}").wait_for()
        latest = model.page.locator('[data-live="latest_reason"]')
        assert await latest.inner_text() == "the newest version, and it is READY"


async def test_a_model_is_loaded_and_unloaded_by_buttons(browser: Browser, own: Gateway) -> None:
    """By keyboard, with `full`; each button sends the public call."""
    async with watched(browser, own) as tab:
        await tab.open("/ui/models/api-tens/1#serving")
        for button, state in (("Load now", "warm"), ("Unload", "cold")):
            await tab.page.get_by_role("button", name=button).focus()
            await tab.page.keyboard.press("Enter")
            await tab.page.locator(f".facts .state[data-state={state}]").wait_for()


async def test_a_worker_that_dies_is_an_event(browser: Browser, own: Gateway) -> None:
    """The list goes on being live, and the menu counts the event."""
    assert (await invoke(own, "/model/api-sums/1/invocation"))[0] == 200
    pool = pool_of(own.app)
    entry = next(entry for key, entry in pool._slots.loaded.items() if key.name == "api-sums")
    async with watched(browser, own) as tab:
        await tab.open("/?q=api-sums")
        os.kill(entry.group.pids[0], signal.SIGKILL)
        await tab.page.locator("#new-events", has_text=re.compile(r"\d+ new")).wait_for()
        await tab.open("/ui/events")
        await tab.page.locator("[data-events] li[data-level]", has_text="Worker died").first.wait_for()
        assert (await invoke(own, "/model/api-sums/1/invocation"))[0] == 200


async def test_a_banner_says_that_mlflow_is_away(
    browser: Browser, mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """It comes and goes on open pages, and what is known stays on them."""
    async with (
        faulty_proxy(mlflow_server.url) as proxy,
        gateway_at(proxy.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="1") as gateway,
        watched(browser, gateway) as tab,
    ):
        await tab.open("/?q=api-wine")
        row = tab.page.locator('[data-row="api-wine"]')
        assert await row.count() == 1
        proxy.fault = "away"
        await tab.page.locator("#banner", has_text="MLflow does not answer since").wait_for()
        assert await row.count() == 1
        proxy.fault = ""
        await tab.page.locator("#banner", has_text="MLflow").wait_for(state="hidden")
        assert await tab.page.locator("#live").inner_text() == "live"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_pages_have_no_barrier(browser: Browser, own: Gateway, scheme: Any, width: int) -> None:
    """Axe finds none, and no page scrolls sideways; names of markup are on them, as text."""
    size = {"width": width, "height": 800}
    async with watched(browser, own, color_scheme=scheme, viewport=size) as tab:
        for path in PAGES.values():
            await tab.page.goto("about:blank")
            await tab.open(path)
            await tab.page.locator("#tools").wait_for()
            found = await Axe().run(tab.page)
            assert not found.response["violations"], (path, found.generate_report())
            assert await tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


async def test_pages_fit_320_pixels(browser: Browser, own: Gateway) -> None:
    """No page scrolls sideways at the width of 400 % zoom; wide tables scroll in a region of their own."""
    async with watched(browser, own, viewport={"width": 320, "height": 640}) as tab:
        for path in PAGES.values():
            await tab.page.goto("about:blank")
            await tab.open(path)
            await tab.page.locator("#tools").wait_for()
            assert await tab.page.evaluate("document.documentElement.scrollWidth") <= 320, path


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_nodes_are_live_and_have_no_barrier(
    browser: Browser, own: Gateway, monkeypatch: pytest.MonkeyPatch, scheme: Any, width: int
) -> None:
    """A node is lost and comes back on the screen, in words; a new one is offered. Axe finds no barrier."""
    names = ["node-a", "node-b", "n" * 63 + ".example"]
    played = PlayedNodes(*map(node, names))
    played.put_into(own, monkeypatch)
    size = {"width": width, "height": 800}
    async with watched(browser, own, color_scheme=scheme, viewport=size) as tab:
        await tab.open("/ui/gateway")
        row = tab.page.locator('[data-row="node-b:8443"]')
        assert await row.locator("meter").get_attribute("value") == "0.146"
        states = [played.reports, (node(names[0]), node(names[1], "lost"), node(names[2], "refused"))]
        for reports, shown in ((states[1], "lost"), (states[0], "connected"), (states[1], "lost")):
            played.reports = reports
            await row.locator(f".state[data-state={shown}]", has_text=shown).wait_for()
            assert (await row.locator(".reason").inner_text() != "") == (shown == "lost")
            assert await row.locator("meter").is_visible() == (shown == "connected")
        found = await Axe().run(tab.page)
        assert not found.response["violations"], found.generate_report()
        for narrow in (width, 320):
            await tab.page.set_viewport_size({"width": narrow, "height": 640})
            assert await tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), narrow
        played.reports = (*played.reports, node("node-c"))
        await tab.page.get_by_role("button", name="Show it as it is now").click()
        await tab.page.locator('[data-row="node-c:8443"]').wait_for()


async def test_markup_of_strangers_runs_nowhere(
    browser: Browser, mlflow_server: MlflowServer, own: Gateway
) -> None:
    """Neither rendered by the gateway nor put there by scripts; no request leaves for another origin."""
    name = f"api-markup {HOSTILE}"
    mlflow_server.call("registered-models/create", {"name": name, "description": HOSTILE})
    async with watched(browser, own) as tab:
        for path in ("/?q=api-markup", f"/ui/models/{quote(name)}"):
            async with tab.page.expect_response(lambda answer: "/console/state" in answer.url):
                await tab.open(path)
            assert await tab.page.locator("img").count() == 0
            assert HOSTILE in await tab.page.locator("main").inner_text()


async def test_a_hidden_page_asks_nothing(browser: Browser, own: Gateway) -> None:
    """Nor does a paused one, neither state nor charts; both ask again when they are seen."""
    async with watched(browser, own) as tab:
        await tab.page.clock.install()
        await tab.page.add_init_script(_COUNT_REQUESTS)
        await tab.open("/")
        asks_again = "(before) => window.asked > before"

        async def asked() -> int:
            count: int = await tab.page.evaluate("window.asked")
            return count

        await tab.page.wait_for_function(asks_again, arg=0)
        hidden = await tab.page.evaluate(_HIDE, True)
        await tab.page.clock.run_for(60_000)
        assert await asked() == hidden
        seen = await tab.page.evaluate(_HIDE, False)
        await tab.page.clock.run_for(2_000)
        await tab.page.wait_for_function(asks_again, arg=seen)
        pressed = await tab.page.evaluate("document.getElementById('pause').click(), window.asked")
        await tab.page.clock.run_for(60_000)
        assert await asked() == pressed
        assert await tab.page.locator("#live").inner_text() == "paused"


_COUNT_REQUESTS = """window.asked = 0;
    const fetchOfPage = window.fetch;
    window.fetch = (...given) => { window.asked += 1; return fetchOfPage(...given) };"""
_HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
    return window.asked }"""


async def test_pages_are_read_without_scripts(browser: Browser, own: Gateway) -> None:
    """The list, and every part of a version below each other."""
    async with watched(browser, own, java_script_enabled=False) as tab:
        await tab.open("/?q=api-sums")
        assert "@champion v2" in await tab.page.locator('[data-row="api-sums"]').inner_text()
        await tab.open("/ui/models/api-wine/1")
        for part in ("about", "serving", "code"):
            assert await tab.page.locator(f"#{part}").is_visible()
        assert "flavanoids" in await tab.page.locator("#about").inner_text()


async def test_tabs_and_lists_by_keyboard(browser: Browser, own: Gateway) -> None:
    """The skip link comes first; arrows change the tab; a column's name sorts."""
    async with watched(browser, own) as tab:
        await tab.open("/ui/models/api-wine/1")
        await tab.page.locator("[role=tab]").first.wait_for()
        await tab.page.keyboard.press("Tab")
        assert await tab.page.evaluate("document.activeElement.className") == "skip"
        await tab.page.get_by_role("tab", name="Try").focus()
        await tab.page.keyboard.press("ArrowRight")
        assert await tab.page.locator("#about").is_visible()
        assert not await tab.page.locator("#try").is_visible()
        await tab.open("/?q=api-")
        await tab.page.get_by_role("button", name="Name").focus()
        await tab.page.keyboard.press("Enter")
        names = await tab.page.locator("[data-row]").evaluate_all("rows => rows.map(row => row.dataset.row)")
        assert names == sorted(names, key=str.casefold, reverse=True) or names[0] > names[-1]
        assert await tab.page.locator("th[aria-sort=descending]").count() == 1


async def test_a_page_asks_for_a_key(
    browser: Browser, mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Its frame is open and names no model; a key shows what it may read, and nothing else."""
    key = new_key()[0]
    file = access_files.write(
        tmp_path / "keys.yaml",
        "keys:\n" + access_files.entry(key, "reader", "grants: {read: [api-wine, api-sums]}"),
    )
    values = {"GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS_FILE": str(file)}
    async with gateway_at(mlflow_server.url, tmp_path / "cache", **values) as gateway:
        async with gateway.get("/?q=api-wine", headers={"Accept": "text/html"}) as frame:
            assert frame.status == 200
            assert "api-sums" not in await frame.text()
        for path in ("/console/state?view=models", "/console/content/", "/console/charts"):
            async with gateway.get(path) as refused:
                assert refused.status == 401
        headers = {"Authorization": f"Bearer {key}"}
        for path, status in (("state?view=models", 200), ("charts", 403), ("content/ui/gateway", 403)):
            async with gateway.get(f"/console/{path}", headers=headers) as answer:
                assert answer.status == status, path
                assert "api-tens" not in await answer.text()
        async with watched(browser, gateway) as tab:
            await tab.open("/")
            await tab.page.get_by_label("API key or token").fill("wrong")
            await tab.page.get_by_role("button", name="Show").click()
            await tab.page.locator("#key-problem:not(:empty)").wait_for()
            await tab.page.get_by_label("API key or token").fill(key)
            await tab.page.keyboard.press("Enter")
            await tab.page.locator('[data-row="api-wine"]').wait_for()
            assert await tab.page.locator("[data-row]").count() == 2
            await tab.page.get_by_role("link", name="api-sums").click()
            await tab.page.locator("h1", has_text="api-sums").wait_for()
            await tab.page.locator('[data-live="best"]', has_text="v2").wait_for()
            tab.problems = [problem for problem in tab.problems if "401" not in problem]


async def test_two_processes_show_the_same(start: Start) -> None:
    """Whichever answers: models warm in one of them are in the state of both."""
    gateway = start(GATEWAY_PROCESSES="2", GATEWAY_PRELOAD="lean")

    async def ask(path: str, body: bytes | None = None) -> Any:
        async with (
            aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as client,
            client.request("GET" if body is None else "POST", gateway.url + path, data=body) as answer,
        ):
            assert answer.status == 200
            return await answer.json()

    await ask("/model/api-sums/1/invocation", BODY)
    agreed = 0
    while agreed < 20:  # connections go to either process; each reads the other's state within two seconds
        state = await ask("/console/state?view=models&q=api-sums")
        of_all = await ask("/console/state?view=gateway")
        warm = [row[PROCESS.index("warm")] for _, row in sorted(of_all["rows"].items())]
        same = "warm v1" in state["rows"]["api-sums"] and state["fields"]["processes"] == "2 processes"
        agreed = agreed + 1 if same and sorted(warm) == ["0", "0", "1"] else 0
