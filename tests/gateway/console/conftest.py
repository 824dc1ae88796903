"""One browser for all tests of the pages, beside the application that the session has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.browser import chromium
from tests.support.shared import once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.browser import Browser
    from tests.support.mlflow_server import MlflowServer


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """Run one browser for the whole session."""
    permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    async with chromium(tmp_path_factory.mktemp("browser"), hosts="*.example") as running:
        await running.call("Browser.grantPermissions", permissions=permissions)
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def browser(running_browser: Browser) -> AsyncIterator[Browser]:
    """Return the browser, and close the pages of the test afterwards, since each polls.

    Its tests must run in the session's event loop.
    """
    yield running_browser
    await running_browser.close_pages()


@pytest.fixture(scope="session")
def try_models(mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Register the models of `tests.support.register_try_models` once for the whole run."""
    once(tmp_path_factory, "try-models", lambda _: mlflow_server.module("tests.support.register_try_models"))
