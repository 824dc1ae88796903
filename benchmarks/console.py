"""`python -m benchmarks.console`: what the console page costs, with 1 000 models of which 20 are warm."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
import psutil
from playwright.async_api import async_playwright

from benchmarks import machine, starts
from benchmarks.stage import COPIES, WINE, staged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from playwright.async_api import Browser, Response

    from benchmarks.stage import Stage
    from benchmarks.starts import Running

MODELS: Final = 1_000
WARM: Final = 20
TABS: Final = 50
LOADS: Final = 15
POLL_SECONDS: Final = 2.0
CHARTS_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 0.1  # light traffic, so that what pages show changes between two polls
HTML: Final = {"Accept": "text/html"}
STATE: Final = "/console/state?view=models&after="
_PAINT: Final = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, and the goal that it must be below."""

    name: str
    value: float
    goal: float
    unit: str

    def line(self) -> str:
        """Return the figure as a row of a table."""
        mark = "" if self.value < self.goal else "  MISSED"
        return f"{self.name:48} {self.value:9.2f} {self.unit:12} goal < {self.goal:g}{mark}"


def main() -> int:
    """Measure, print the figures, and return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.console", description=__doc__)
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="the browser (/usr/bin/chromium)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement of CPU time (60)")
    wanted = parser.parse_args()
    print(f"{machine.described()}; {machine.busy()}")  # noqa: T201 - the report
    with tempfile.TemporaryDirectory() as name, staged(Path(name)) as stage:
        with stage.stopped():
            stage.grow(MODELS)
        folder = Path(name, "gateway")
        with starts.gateway(Path(sys.executable), stage, WINE, folder, {"GATEWAY_GRACE_SECONDS": "0"}) as run:
            figures = asyncio.run(_measure(run, stage, wanted.chromium, wanted.seconds))
    for figure in figures:
        print(figure.line())  # noqa: T201 - the report
    return int(any(figure.value >= figure.goal for figure in figures))


async def _measure(gateway: Running, stage: Stage, chromium: str, seconds: float) -> list[Figure]:
    async with aiohttp.ClientSession(gateway.base) as client:
        models = await _load_models(client, stage)
        figures = [*await _first_load(client), *await _server_times(client), *await _poll_sizes(client)]
        figures += await _browser_figures(gateway.base, chromium)
        async with _traffic(client, stage, models):
            figures.append(await _cost_of_tabs(client, gateway.process.pid, seconds))
    return figures


async def _load_models(client: aiohttp.ClientSession, stage: Stage) -> list[str]:
    """Load the models that are to be warm, and return their names."""
    names = [WINE, *COPIES, *(f"grown-{number:05}" for number in range(100, 100 + WARM))][:WARM]
    for name in names:
        await _predict(client, stage, name)
    return names


async def _predict(client: aiohttp.ClientSession, stage: Stage, name: str) -> None:
    body, headers = stage.body(1).forms["mlflow"], {"Content-Type": "application/json"}
    async with client.post(f"/model/{name}/1/invocation", data=body, headers=headers) as answer:
        answer.raise_for_status()
        await answer.read()


async def _first_load(client: aiohttp.ClientSession) -> list[Figure]:
    """Return how long the first person waits, for whom MLflow is asked for the list and 50 models."""
    return [Figure("first list of all, MLflow asked", await _milliseconds(client, "/"), 500, "ms")]


async def _server_times(client: aiohttp.ClientSession) -> list[Figure]:
    pages = {"list": "/", "model": f"/ui/models/{WINE}", "version": f"/ui/models/{WINE}/1"}
    figures = []
    for name, path in pages.items():
        times = [await _milliseconds(client, path) for _ in range(LOADS)]
        figures.append(Figure(f"{name}, server, median of {LOADS}", statistics.median(times), 100, "ms"))
        figures.append(Figure(f"{name}, server, slowest of {LOADS}", max(times), 500, "ms"))
    return figures


async def _milliseconds(client: aiohttp.ClientSession, path: str) -> float:
    started = time.perf_counter()
    async with client.get(path, headers=HTML) as answer:
        answer.raise_for_status()
        await answer.read()
    return (time.perf_counter() - started) * 1e3


async def _poll_sizes(client: aiohttp.ClientSession) -> list[Figure]:
    """Return the sizes of what an open list polls, as it travels."""
    figures = []
    for coding in ("identity", "gzip"):
        for name, path, goal in (("state", STATE, 20), ("charts", "/console/charts", 40)):
            async with client.get(path, headers={"Accept-Encoding": coding}) as answer:
                answer.raise_for_status()
                sent = int(answer.headers["Content-Length"]) / 1024
            figures.append(Figure(f"poll of the list: {name}, {coding}", sent, goal, "KiB"))
    return figures


async def _browser_figures(base: str, chromium: str) -> list[Figure]:
    """Return when a new browser and a used one show the list, and how much each page loads."""
    async with async_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = await playwright.chromium.launch(executable_path=chromium, args=options)
        try:
            await _paint(browser, base)  # starts the browser's own processes
            times = sorted([await _paint(browser, base) for _ in range(LOADS)])
            figures = [
                Figure(
                    f"list, first paint, empty cache, median of {LOADS}", statistics.median(times), 500, "ms"
                ),
                Figure(f"list, first paint, empty cache, slowest of {LOADS}", times[-1], 1_000, "ms"),
            ]
            for name, path in (("list", "/"), ("version", f"/ui/models/{WINE}/1")):
                figures.append(
                    Figure(f"{name}, page weight", await _weight(browser, base + path), 150, "KiB")
                )
            return figures
        finally:
            await browser.close()


async def _paint(browser: Browser, address: str) -> float:
    """Return the milliseconds from the navigation to the first content on the screen."""
    context = await browser.new_context()
    try:
        page = await context.new_page()
        await page.goto(address)
        await page.wait_for_function(f"{_PAINT} !== undefined")
        return float(await page.evaluate(_PAINT))
    finally:
        await context.close()


async def _weight(browser: Browser, address: str) -> float:
    """Return the KiB of all that a page loads, not compressed, the first poll included."""
    context = await browser.new_context()
    responses: list[Response] = []
    try:
        page = await context.new_page()
        page.on("response", lambda response: responses.append(response))  # noqa: PLW0108 - playwright marks it
        async with page.expect_response(lambda answer: "/console/state" in answer.url):
            await page.goto(address)
        return sum([len(await response.body()) for response in responses]) / 1024
    finally:
        await context.close()


@asynccontextmanager
async def _traffic(client: aiohttp.ClientSession, stage: Stage, models: list[str]) -> AsyncIterator[None]:
    """Send a request now and then to one model after the other."""

    async def send() -> None:
        for number in range(sys.maxsize):
            await _predict(client, stage, models[number % len(models)])
            await asyncio.sleep(REQUEST_SECONDS)

    task = asyncio.create_task(send())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _cost_of_tabs(client: aiohttp.ClientSession, pid: int, seconds: float) -> Figure:
    """Return the share of a core that open lists add to the gateway process, in percent."""
    without = await _cpu(pid, seconds)
    tabs = [asyncio.create_task(_tab(client, number)) for number in range(TABS)]
    try:
        await asyncio.sleep(POLL_SECONDS)
        with_tabs = await _cpu(pid, seconds)
        if failed := [tab for tab in tabs if tab.done()]:
            failed[0].result()
    finally:
        for tab in tabs:
            tab.cancel()
        await asyncio.gather(*tabs, return_exceptions=True)
    return Figure(
        f"CPU of {TABS} open lists (gateway without: {without:.2f})", with_tabs - without, 1, "% of a core"
    )


async def _cpu(pid: int, seconds: float) -> float:
    process = psutil.Process(pid)
    before, started = process.cpu_times(), time.perf_counter()
    await asyncio.sleep(seconds)
    after, passed = process.cpu_times(), time.perf_counter() - started
    return 100 * (after.user + after.system - before.user - before.system) / passed


async def _tab(client: aiohttp.ClientSession, number: int) -> None:
    """Poll as an open list does: its state and its charts, each with the tag of the last answer."""
    await asyncio.sleep(number * POLL_SECONDS / TABS)
    await asyncio.gather(
        _poll(lambda tag: _get(client, STATE, tag), POLL_SECONDS),
        _poll(lambda tag: _get(client, "/console/charts", tag), CHARTS_SECONDS),
    )


async def _poll(get: Callable[[str], Awaitable[str]], seconds: float) -> None:
    tag = ""
    while True:
        tag = await get(tag)
        await asyncio.sleep(seconds)


async def _get(client: aiohttp.ClientSession, path: str, tag: str) -> str:
    async with client.get(path, headers={"If-None-Match": tag} if tag else {}) as answer:
        answer.raise_for_status()
        await answer.read()
        return answer.headers["ETag"]


if __name__ == "__main__":
    sys.exit(main())
