"""A real MLflow server with basic authentication, and authenticators that ask it through a counting proxy."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.auth.credentials import Credential
from gateway.auth.mlflow import Bounds, MlflowAuthenticator
from gateway.catalog.served_names import ServedNames
from gateway.mlflow_client import MlflowClient
from gateway.settings import load
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.manual_clock import ManualClock
from tests.support.mlflow_users import ADMIN, PASSWORD, UsersServer, secret, shared_users_server
from workers.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.auth.mlflow.asking import InvokeRight
    from gateway.auth.principal import Principal

ADDRESS = "192.0.2.7"
KINDS = ("registry", "experiments")
QUICK = Bounds(refusal_floor=0)
OWN = {"MLFLOW_TRACKING_USERNAME": ADMIN, "MLFLOW_TRACKING_PASSWORD": PASSWORD.format(ADMIN)}


def user(name: str, password: str | None = None) -> Credential:
    """Return the credential of a user, by default with the right password."""
    return Credential("basic", secret(name) if password is None else f"{name}:{password}")


@asynccontextmanager
async def opened(
    url: str,
    *,
    invoke: InvokeRight = "read",
    bounds: Bounds = QUICK,
    clock: ManualClock | None = None,
    kinds: tuple[str, ...] = KINDS,
    own: dict[str, str] | None = None,
    counters: Counters | None = None,
) -> AsyncIterator[MlflowAuthenticator]:
    """Open an authenticator for the server at `url`; the gateway's own account is the admin's."""
    variables = {"MLFLOW_TRACKING_URI": url, "GATEWAY_SOURCES": ",".join(kinds)}
    settings = load({**variables, **(OWN if own is None else own)})
    clock = clock or ManualClock()
    async with MlflowClient(settings.mlflow) as client:
        served = ServedNames(client, settings.sources, clock=clock)
        try:
            async with MlflowAuthenticator(
                settings.mlflow,
                served,
                counters=Counters() if counters is None else counters,
                invoke=invoke,
                bounds=bounds,
                clock=clock,
            ) as authenticator:
                yield authenticator
        finally:
            await served.close()


async def enter(authenticator: MlflowAuthenticator, name: str) -> Principal:
    """Return the principal of a user with the right password."""
    return await authenticator.verify(user(name), ADDRESS)


@pytest.fixture(scope="session")
def users(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> UsersServer:
    """The server of the whole run. Users may do nothing that they were not permitted."""
    return shared_users_server(tmp_path_factory)


@pytest.fixture
async def proxy(users: UsersServer) -> AsyncIterator[FaultyProxy]:
    """A proxy in front of the server, which counts calls."""
    async with faulty_proxy(users.url) as proxy:
        yield proxy


@pytest.fixture
def clock() -> ManualClock:
    """A clock that a test advances."""
    return ManualClock()
