"""With `GATEWAY_INPUT_CHECKS=mlflow` nothing of how inputs are read differs from MLflow's scoring server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.gateways import gateway_at
from tests.zoo.asking import agree, gateway_says, model_says, server_says
from tests.zoo.cases import Case, cases
from tests.zoo.table import GIVEN, REFUSED, TAKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from tests.support.gateways import Gateway
    from tests.support.mlflow_server import MlflowServer
    from tests.zoo.conftest import Zoo

READ_OTHERWISE = (*REFUSED, *TAKEN, *GIVEN)
CASES = [case for case in cases() if any(difference.holds_for(case) for difference in READ_OTHERWISE)]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def as_mlflow(
    mlflow_server: MlflowServer, zoo: Zoo, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """The application in front of the zoo, told to read inputs as MLflow does."""
    cache = tmp_path_factory.mktemp("zoo-as-mlflow")
    values = {"GATEWAY_MAX_LOADED_MODELS": "3", "GATEWAY_INPUT_CHECKS": "mlflow"}
    async with gateway_at(mlflow_server.url, cache, **values) as client:
        yield client


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_mlflows_own_reading(
    as_mlflow: Gateway, session: aiohttp.ClientSession, peer: str, *, case: Case
) -> None:
    """What differs otherwise in how an input is read, all three do alike now."""
    model = case.entry.model
    here = await gateway_says(as_mlflow, model, case.body)
    there = await server_says(session, f"{peer}/served/{model}/invocations", case.body)
    itself = await model_says(session, f"{peer}/direct/{model}", case.body)
    agree(here, there, itself=itself)
