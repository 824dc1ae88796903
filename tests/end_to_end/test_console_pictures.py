"""Makes the pictures of the documentation, of the demo's models in a gateway that answers requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

import pytest

from gateway.api.keys import COMPONENTS
from tests.support.console_pages import chrome, watched
from tests.support.gateways import gateway_at, invoke
from tests.support.mlflow_server import environment
from tests.support.mlflow_server import mlflow_server as run_mlflow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

FOLDER: Final = os.environ.get("GATEWAY_TEST_SCREENSHOTS", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not FOLDER, reason="only `make screenshots` makes them (GATEWAY_TEST_SCREENSHOTS)"),
]
WIDE: dict[str, Any] = {"width": 1280, "height": 860}
PHONE: dict[str, Any] = {"width": 360, "height": 740}
PICTURES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "console-models": ("/", WIDE, "light"),
    "console-models-dark": ("/", WIDE, "dark"),
    "console-models-phone": ("/", PHONE, "light"),
    "console-model": ("/ui/models/wine", WIDE, "light"),
    "console-try": ("/ui/models/wine/2", WIDE, "light"),
    "console-about": ("/ui/models/wine/2#about", WIDE, "light"),
    "console-events": ("/ui/events", WIDE, "light"),
    "console-gateway": ("/ui/gateway", WIDE, "light"),
}
STEPS: Final = 8
VERSIONS: Final = cycle((2, 2, 2, 3, 2, 1))
INPUTS: Final = {
    "columns": ["alcohol", "flavanoids", "color_intensity", "proline"],
    "data": [[13.2, 2.8, 4.4, 1050.0]],
}


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[MlflowServer]:
    """An MLflow server with the demo's models."""
    (tmp_path / "mlflow").mkdir()
    with run_mlflow(tmp_path / "mlflow") as server:
        train = [sys.executable, "-m", "gateway.cli.demo.training", server.url]
        subprocess.run(train, check=True, env=environment(), stdout=subprocess.DEVNULL)
        yield server


async def test_pictures(demo: MlflowServer, tmp_path: Path) -> None:
    """One file for each page; nothing goes wrong in any of them."""
    body = json.dumps({"dataframe_split": INPUTS}).encode()
    async with gateway_at(demo.url, tmp_path / "cache") as gateway, chrome() as browser:
        history = gateway.app[COMPONENTS].history
        while len(history.snapshot()["times"]) < STEPS:  # requests over a time, so that charts have a shape
            await invoke(gateway, f"/model/wine/{next(VERSIONS)}/invocation", body)
        for name, (path, size, scheme) in PICTURES.items():
            async with watched(browser, gateway, viewport=size, color_scheme=scheme) as tab:
                async with tab.page.expect_response(lambda answer: "/console/state" in answer.url):
                    await tab.open(path)
                await tab.page.locator("#live", has_text="live").wait_for()
                await tab.page.screenshot(path=f"{FOLDER}/{name}.png")
