"""The scoring servers that the other tests compare with are what `mlflow models serve` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.zoo.asking import server_says
from tests.zoo.cases import cases
from tests.zoo.served import served

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from tests.zoo.conftest import Zoo


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("model", ["sk-pipeline", "type-long"])
async def test_the_command_answers_alike(
    model: str, zoo: Zoo, peer: str, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Every body of the model gets the command's answer from our process of many servers, byte for byte."""
    asked = [case for case in cases() if case.entry.model == model]
    with served(zoo.places[model], tmp_path) as url:
        real = [await server_says(session, url, case.body) for case in asked]
    ours = [await server_says(session, f"{peer}/served/{model}/invocations", case.body) for case in asked]
    assert {told.status for told in real} == {200, 400}
    assert [told.status for told in real] == [told.status for told in ours]
    assert [told.text for told in real if told.status == 200] == [
        told.text for told in ours if told.status == 200
    ]
