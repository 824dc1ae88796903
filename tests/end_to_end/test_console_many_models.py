"""Proves that the pages stay small with 1 000 models, of which 20 are warm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from benchmarks.stage import COPIES, WINE, Stage, staged

from tests.support.console_pages import get_html, get_state, known_rows
from tests.support.gateways import Gateway, gateway_at, invoke

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

MODELS: Final = 1_000
WARM: Final = 20
ROWS: Final = 50
POLL_BYTES: Final = 20_000
PAGE_BYTES: Final = 150_000


async def test_a_list_of_a_thousand_models_is_small(tmp_path: Path) -> None:
    """A poll has one page of rows and less than 20 KB; the filters and pages reach every model."""
    with staged(tmp_path / "stage") as stage:
        with stage.stopped():
            stage.grow(MODELS)
        async with gateway_at(stage.uri, tmp_path / "cache") as gateway:
            await _warm(gateway, stage)
            assert len(await known_rows(gateway, "")) == ROWS
            async with gateway.get("/console/state?view=models&after=") as poll:
                assert len(await poll.read()) < POLL_BYTES
            status, html = await get_html(gateway, "/")
            assert status == 200
            assert len(html.encode()) < PAGE_BYTES
            assert html.count("data-row=") == ROWS
            assert f"{WARM} of {WARM} models warm" in html
            _, warm = await get_state(gateway, "view=models&only=warm")
            assert len(warm["rows"]) == WARM
            _, one = await get_state(gateway, "view=models&q=grown-00999")
            assert list(one["rows"]) == ["grown-00999"]


async def _warm(gateway: Gateway, stage: Stage) -> None:
    """Load the models that are to be warm."""
    body = stage.body(1).forms["mlflow"]
    for name in [WINE, *COPIES, *(f"grown-{number:05}" for number in range(100, 100 + WARM))][:WARM]:
        assert (await invoke(gateway, f"/model/{name}/1/invocation", body))[0] == 200
