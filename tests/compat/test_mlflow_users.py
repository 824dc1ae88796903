"""Proves that users of an MLflow 2.22 server with basic authentication are callers with their rights."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Literal

import pytest

from gateway.auth.actions import Action
from gateway.auth.errors import Unauthenticated
from tests.compat.conftest import PYTHON
from tests.gateway.auth.mlflow.conftest import ADDRESS, enter, opened, user
from tests.support.faulty_proxy import faulty_proxy
from tests.support.manual_clock import ManualClock
from tests.support.mlflow_rights import Shelf, make_shelf, wrong_decisions
from tests.support.mlflow_users import ADMIN, UsersServer, users_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def users2(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UsersServer]:
    """An MLflow 2.22 server whose users may do nothing that they were not permitted."""
    python = os.environ.get(PYTHON, "")
    if not python:
        pytest.skip(f"{PYTHON} names no Python with MLflow 2.22: make test-compat makes one")
    if subprocess.run([python, "-c", "import flask_wtf"], check=False, capture_output=True).returncode:
        pytest.skip("its environment has no flask-wtf, which basic authentication needs")
    with users_server(tmp_path_factory.mktemp("mlflow2-users"), python=python, major=2) as server:
        yield server


@pytest.fixture(scope="module")
def shelf(users2: UsersServer) -> Shelf:
    """A user with each permission on a registered model and on an experiment."""
    return make_shelf(users2, "shelf")


@pytest.mark.parametrize("invoke", ["read", "use"])
async def test_each_permission_allows_what_it_says(
    users2: UsersServer, shelf: Shelf, invoke: Literal["read", "use"]
) -> None:
    """MLflow 2 has no USE: where that is wanted, EDIT includes it."""
    async with opened(users2.url, invoke=invoke) as authenticator:
        rights = (await enter(authenticator, shelf.user)).rights
        actions = (Action.READ, Action.INVOKE, Action.MANAGE)
        assert await wrong_decisions(rights, shelf, invoke=invoke, actions=actions) == []


async def test_a_list_has_what_may_be_read(users2: UsersServer, shelf: Shelf) -> None:
    """MLflow 2's search leaves out what the user may not read, too."""
    async with opened(users2.url) as authenticator:
        rights = (await enter(authenticator, shelf.user)).rights
        readable = {name for (_, level), name in shelf.names.items() if level not in {"", "NO_PERMISSIONS"}}
        assert await rights.readable([*shelf.names.values(), "no-such-model"]) == readable


async def test_an_own_experiment_opens_no_registered_model_of_its_name(users2: UsersServer) -> None:
    """The registered model is served under the name, so that only rights on it count."""
    users2.create_user("namesake")
    users2.create_model("namesake-secret")
    users2.create_experiment("namesake-secret", user="namesake")
    async with opened(users2.url) as authenticator:
        rights = (await enter(authenticator, "namesake")).rights
        assert not await rights.ask(Action.READ, "namesake-secret", None)
        assert await rights.readable(["namesake-secret"]) == frozenset()


async def test_who_it_is_and_who_it_is_not(users2: UsersServer) -> None:
    """A name counts with its password alone, and an admin is known; a changed password is noticed."""
    clock = ManualClock()
    users2.create_user("mover")
    async with faulty_proxy(users2.url) as proxy, opened(proxy.url, clock=clock) as authenticator:
        assert (await enter(authenticator, ADMIN)).rights.allows_route(Action.STATUS)
        principal = await enter(authenticator, "mover")
        assert principal.id == "mover"
        assert not principal.rights.allows_route(Action.STATUS)
        assert proxy.counted("users/current") == 1  # it has no such call, and is not asked for it again
        for name, password in (("mover", "wrong"), ("unknown", "wrong")):
            with pytest.raises(Unauthenticated):
                await authenticator.verify(user(name, password), ADDRESS)
        users2.set_password("mover", "another-password")
        clock.advance(30)
        with pytest.raises(Unauthenticated):
            await enter(authenticator, "mover")
