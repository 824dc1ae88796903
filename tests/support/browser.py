"""A real Chromium without a window, spoken to by its DevTools protocol."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest

from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
_SECONDS: Final = 120.0
_PERMISSIONS: Final = ("clipboardReadWrite", "clipboardSanitizedWrite")
_OPTIONS: Final = (
    "--headless",
    "--no-sandbox",  # it needs namespaces, which containers do not have; only pages of the tests are opened
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
)


class ProtocolError(AssertionError):
    """The browser refused a command, or the page that it was for went away."""


class Page:
    """An open page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    async def open(self, url: str) -> None:
        """Load `url`, and return when it and its files are loaded."""
        loaded = self._browser.next_event(self._session, "Page.loadEventFired")
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(_SECONDS):
            await loaded

    async def run(self, script: str) -> Any:
        """Return the JSON value of a JavaScript expression, after waiting for it if it is a promise."""
        options = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = await self.call("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def wait_for(self, script: str) -> Any:
        """Wait until a JavaScript expression is true, and return its value; the page may change meanwhile."""
        async with asyncio.timeout(_SECONDS):
            while True:
                with suppress(ProtocolError):  # a page that is being replaced evaluates nothing
                    if value := await self.run(script):
                        return value
                await asyncio.sleep(0.05)

    async def type_into(self, selector: str, text: str) -> None:
        """Replace the text of an input, as a person does who types."""
        await self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.focus(); e.select() }})()"
        )
        await self.call("Input.insertText", text=text)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol about this page, and return the result."""
        return await self._browser.call(method, session=self._session, **parameters)


class Browser:
    """A running browser."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self._connection = connection
        self._ids = count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._events: dict[tuple[str, str], asyncio.Future[None]] = {}
        self._targets: list[str] = []

    async def new_page(self) -> Page:
        """Open an empty page, which may use the clipboard."""
        await self.call("Browser.grantPermissions", permissions=list(_PERMISSIONS))
        target = await self.call("Target.createTarget", url="about:blank")
        self._targets.append(target["targetId"])
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self, attached["sessionId"])
        await page.call("Page.enable")
        return page

    async def close_pages(self) -> None:
        """Close every page that `new_page` opened."""
        while self._targets:
            await self.call("Target.closeTarget", targetId=self._targets.pop())

    async def call(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol, and return the result."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        await self._connection.send_json(message if session is None else {**message, "sessionId": session})
        async with asyncio.timeout(_SECONDS):
            result: dict[str, Any] = await answer
        return result

    def next_event(self, session: str, method: str) -> asyncio.Future[None]:
        """Return what is done at the next event of this name on a page."""
        return self._events.setdefault((session, method), asyncio.get_running_loop().create_future())

    async def listen(self) -> None:
        """Take answers and events from the browser until it closes the connection."""
        async for message in self._connection:
            data = json.loads(message.data)
            if "id" not in data:
                if event := self._events.pop((data.get("sessionId", ""), data["method"]), None):
                    event.set_result(None)
                continue
            answer = self._answers.pop(data["id"])
            if answer.done():
                continue
            if "error" in data:
                answer.set_exception(ProtocolError(data["error"]))
            else:
                answer.set_result(data["result"])


def find_chromium() -> str:
    """Return the program; skip the test if there is none."""
    if (given := os.environ.get("GATEWAY_TEST_CHROMIUM")) is not None:
        return given
    for name in _PROGRAMS:
        if (program := shutil.which(name)) is not None:
            return program
    pytest.skip(f"no browser: none of {', '.join(_PROGRAMS)} is installed (GATEWAY_TEST_CHROMIUM)")


@asynccontextmanager
async def chromium(folder: Path, *, hosts: str) -> AsyncIterator[Browser]:
    """Run a browser with a new profile in `folder`, for which names like `hosts` are this machine."""
    with (folder / "chromium.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            find_chromium(),
            *_OPTIONS,
            f"--user-data-dir={folder / 'profile'}",
            f"--host-resolver-rules=MAP {hosts} 127.0.0.1",
            env={**os.environ, "HOME": str(folder)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        port_file = folder / "profile" / "DevToolsActivePort"
        await until(
            lambda: process.returncode is not None or (port_file.exists() and "\n" in port_file.read_text())
        )
        assert process.returncode is None, (folder / "chromium.log").read_text()
        port, path = port_file.read_text().split("\n")[:2]
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(f"ws://127.0.0.1:{port}{path}", max_msg_size=0) as connection,
        ):
            browser = Browser(connection)
            listening = asyncio.create_task(browser.listen())
            try:
                yield browser
            finally:
                listening.cancel()
                with suppress(asyncio.CancelledError):
                    await listening
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
