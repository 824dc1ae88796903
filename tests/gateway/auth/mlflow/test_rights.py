"""Proves that a user of MLflow may do here what MLflow permits, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from gateway.auth.actions import Action
from gateway.auth.errors import AuthUnavailable, Unauthenticated
from tests.gateway.auth.mlflow.conftest import OWN, enter, opened
from tests.support.mlflow_rights import Shelf, make_shelf, wrong_decisions
from tests.support.mlflow_users import ADMIN, UsersServer
from tests.support.shared import once
from tests.support.waiting import until

if TYPE_CHECKING:
    from gateway.auth.rights import Rights
    from tests.support.faulty_proxy import FaultyProxy
    from tests.support.manual_clock import ManualClock

ACTIONS = (Action.READ, Action.INVOKE, Action.MANAGE)


@pytest.fixture(scope="session")
def shelf(users: UsersServer, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """A user with each permission on a registered model and on an experiment."""
    once(tmp_path_factory, "mlflow-shelf", lambda _: bool(make_shelf(users, "shelf")))
    names = {
        (kind, level): f"shelf-{kind}-{level or 'nothing'}"
        for kind in ("registered_model", "experiment")
        for level in ("READ", "USE", "EDIT", "MANAGE", "DENY", "")
    }
    return Shelf("shelf", names)  # type: ignore[arg-type] # the kinds are texts here


@pytest.mark.parametrize("invoke", ["read", "use"])
async def test_each_permission_allows_what_it_says(
    users: UsersServer, shelf: Shelf, invoke: Literal["read", "use"]
) -> None:
    """READ allows to read and invoke, unless USE is wanted for that; EDIT and MANAGE to load and unload."""
    async with opened(users.url, invoke=invoke) as authenticator:
        rights = (await enter(authenticator, shelf.user)).rights
        assert await wrong_decisions(rights, shelf, invoke=invoke, actions=ACTIONS) == []


async def test_the_order_of_questions_does_not_matter(users: UsersServer, shelf: Shelf) -> None:
    """Whether a model may be loaded is found out as well after it is known that it may be read."""
    async with opened(users.url) as authenticator:
        rights = (await enter(authenticator, shelf.user)).rights
        name = shelf.names["registered_model", "READ"]
        assert await rights.ask(Action.READ, name, None)
        assert rights.decide(Action.MANAGE, name, None) is None
        assert not await rights.ask(Action.MANAGE, name, None)
        assert rights.decide(Action.READ, name, None) is True


async def test_a_list_has_what_may_be_read(users: UsersServer, shelf: Shelf) -> None:
    """MLflow's search leaves out what the user may not read; one call for each kind answers for all names."""
    async with opened(users.url) as authenticator:
        rights = (await enter(authenticator, shelf.user)).rights
        names = [*shelf.names.values(), "no-such-model"]
        readable = {name for (_, level), name in shelf.names.items() if level not in {"", "DENY"}}
        assert await rights.readable(names) == readable
        assert await rights.readable(names[:1]) == readable & set(names[:1])


async def test_a_model_that_does_not_exist_looks_like_a_forbidden_one(users: UsersServer) -> None:
    """Nothing may be done with either, so that the answer does not tell which it is."""
    users.create_user("curious")
    users.create_model("curious-hidden")
    async with opened(users.url) as authenticator:
        rights = (await enter(authenticator, "curious")).rights
        for name in ("curious-hidden", "curious-missing"):
            assert not await rights.ask(Action.READ, name, None)
            assert rights.decide(Action.READ, name, None) is False


@pytest.mark.parametrize("name", ["", "a\0b", "\udc80", "x" * 3000, "../../users", "a?b=c&d", "a' OR '1'='1"])
async def test_impossible_names_are_refused(users: UsersServer, name: str, curious: str) -> None:
    """A name that MLflow cannot hold gives no right, and no error."""
    async with opened(users.url) as authenticator:
        rights = (await enter(authenticator, curious)).rights
        assert not await rights.ask(Action.READ, name, None)


@pytest.fixture(scope="session")
def curious(users: UsersServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A user without any permission."""

    def make(_: object) -> str:
        users.create_user("powerless")
        return "powerless"

    name: str = once(tmp_path_factory, "mlflow-powerless", make)
    return name


async def test_an_own_experiment_opens_no_registered_model_of_its_name(users: UsersServer) -> None:
    """The registered model is served under the name, so that only rights on it count; attack by namesake."""
    users.create_user("namesake")
    users.create_model("namesake-secret")
    experiment = users.create_experiment("namesake-secret", user="namesake")
    async with opened(users.url) as authenticator:
        rights = (await enter(authenticator, "namesake")).rights
        await assert_nothing_is_allowed(rights, "namesake-secret")
        assert await rights.readable(["namesake-secret"]) == frozenset()
    async with opened(users.url, kinds=("experiments",)) as authenticator:
        rights = (await enter(authenticator, "namesake")).rights
        assert await rights.ask(Action.MANAGE, "namesake-secret", None), experiment
        assert await rights.readable(["namesake-secret"]) == {"namesake-secret"}
    async with opened(users.url, kinds=("registry",)) as authenticator:
        rights = (await enter(authenticator, "namesake")).rights
        await assert_nothing_is_allowed(rights, "namesake-secret")


async def test_an_own_registered_model_hides_an_experiment(users: UsersServer) -> None:
    """Who registers a model with an experiment's name gets the rights on the model, which is served."""
    users.create_user("registrar")
    users.create_experiment("registrar-victim")
    users.create_model("registrar-victim", user="registrar")
    async with opened(users.url) as authenticator:
        rights = (await enter(authenticator, "registrar")).rights
        assert await rights.ask(Action.MANAGE, "registrar-victim", None)
    async with opened(users.url, kinds=("experiments",)) as authenticator:
        rights = (await enter(authenticator, "registrar")).rights
        await assert_nothing_is_allowed(rights, "registrar-victim")


async def test_a_prompt_hides_no_experiment(users: UsersServer) -> None:
    """A prompt is not served, so that the rights on the experiment with its name count."""
    users.create_user("author")
    users.create_model("author-prompt", user="author", prompt=True)
    users.create_model("author-both", user="author", prompt=True)
    users.create_experiment("author-both")
    async with opened(users.url) as authenticator:
        rights = (await enter(authenticator, "author")).rights
        await assert_nothing_is_allowed(rights, "author-prompt")
        await assert_nothing_is_allowed(rights, "author-both")


async def test_denied_versions_are_not_served(users: UsersServer) -> None:
    """Who may see models but none of their versions, as MLflow 3.17 can say, gets nothing of them here."""
    users.create_user("versionless")
    users.create_model("versionless-model", user="versionless")
    users.permit("versionless", "registered_model_version", "*", "DENY")
    experiment = users.create_experiment("versionless-experiment", user="versionless")
    async with opened(users.url) as authenticator:
        rights = (await enter(authenticator, "versionless")).rights
        await assert_nothing_is_allowed(rights, "versionless-model")
        assert await rights.ask(Action.READ, "versionless-experiment", None), experiment
        names = ["versionless-model", "versionless-experiment"]
        assert await rights.readable(names) == {"versionless-experiment"}


async def assert_nothing_is_allowed(rights: Rights, name: str) -> None:
    for action in ACTIONS:
        assert not await rights.ask(action, name, None)
        assert rights.decide(action, name, None) is False


async def test_an_admin_may_do_everything(proxy: FaultyProxy) -> None:
    """And alone sees the gateway's own state; MLflow is not asked about single models."""
    async with opened(proxy.url) as authenticator:
        rights = (await enter(authenticator, ADMIN)).rights
        calls = len(proxy.calls)
        assert all(rights.allows_route(action) for action in Action)
        assert all(rights.decide(action, "anything", None) for action in ACTIONS)
        assert await rights.readable(["a", "b"]) == {"a", "b"}
        assert len(proxy.calls) == calls


async def test_an_ordinary_user_sees_the_list_and_not_the_state(users: UsersServer, curious: str) -> None:
    """The list of models is for all users, with what each may read; metrics are for admins."""
    async with opened(users.url) as authenticator:
        rights = (await enter(authenticator, curious)).rights
        assert [action for action in Action if rights.allows_route(action)] == [Action.READ]


async def test_a_withdrawn_right_ends_within_its_age(users: UsersServer, clock: ManualClock) -> None:
    """It counts for 30 seconds, and a refusal for 5."""
    users.create_user("former")
    users.create_model("former-model")
    users.permit("former", "registered_model", "former-model", "READ")
    async with opened(users.url, clock=clock) as authenticator:
        rights = (await enter(authenticator, "former")).rights
        assert await rights.ask(Action.INVOKE, "former-model", None)
        users.withdraw("former", "registered_model", "former-model")
        clock.advance(19)
        assert rights.decide(Action.INVOKE, "former-model", None) is True
        clock.advance(11)
        assert rights.decide(Action.INVOKE, "former-model", None) is None
        assert not await rights.ask(Action.INVOKE, "former-model", None)
        users.permit("former", "registered_model", "former-model", "READ")
        assert rights.decide(Action.INVOKE, "former-model", None) is False
        clock.advance(5)
        assert await rights.ask(Action.INVOKE, "former-model", None)


async def test_a_caller_who_goes_on_never_waits(
    users: UsersServer, proxy: FaultyProxy, clock: ManualClock
) -> None:
    """After twenty seconds one call in the background makes the answer fresh again."""
    users.create_user("steady")
    users.create_model("steady-model", user="steady")
    async with opened(proxy.url, clock=clock) as authenticator:
        rights = (await enter(authenticator, "steady")).rights
        assert await rights.ask(Action.MANAGE, "steady-model", None)
        clock.advance(25)
        for _ in range(10):
            assert rights.decide(Action.MANAGE, "steady-model", None) is True
        clock.advance(4)
        await until(lambda: proxy.counted("registered-models/get") == 2)
        clock.advance(6)
        await until(lambda: rights.decide(Action.MANAGE, "steady-model", None) is True)
        assert proxy.counted("registered-models/get") == 2


async def test_rights_are_kept_while_mlflow_is_away(
    users: UsersServer, proxy: FaultyProxy, clock: ManualClock
) -> None:
    """For five minutes, with a call in each five seconds; what was never asked cannot be answered."""
    users.create_user("outage")
    users.create_model("outage-model", user="outage")
    async with opened(proxy.url, clock=clock) as authenticator:
        rights = (await enter(authenticator, "outage")).rights
        assert await rights.ask(Action.READ, "outage-model", None)
        assert await rights.readable(["outage-model", "other"]) == {"outage-model"}
        proxy.fault = "away"
        clock.advance(31)
        assert await rights.ask(Action.READ, "outage-model", None)
        assert await rights.readable(["outage-model"]) == {"outage-model"}
        calls = len(proxy.calls)
        assert rights.decide(Action.READ, "outage-model", None) is True
        assert len(proxy.calls) == calls
        with pytest.raises(AuthUnavailable):
            await rights.ask(Action.MANAGE, "outage-model", None)
        with pytest.raises(AuthUnavailable):
            await rights.ask(Action.READ, "other", None)
        clock.advance(270)
        for unknown in (rights.ask(Action.READ, "outage-model", None), rights.readable(["outage-model"])):
            with pytest.raises(AuthUnavailable):
                await unknown
        proxy.fault = ""
        assert await rights.ask(Action.READ, "outage-model", None)


async def test_wrong_credentials_of_the_gateway_are_not_the_callers_fault(users: UsersServer) -> None:
    """What the gateway's own account cannot find out is unavailable; the caller stays recognised."""
    users.create_user("innocent")
    own = OWN | {"MLFLOW_TRACKING_PASSWORD": "wrong"}
    async with opened(users.url, own=own) as authenticator:
        principal = await enter(authenticator, "innocent")
        with pytest.raises(AuthUnavailable):
            await principal.rights.ask(Action.READ, "innocent-experiment", None)
        assert await enter(authenticator, "innocent") is principal


async def test_rights_end_with_the_credentials(users: UsersServer) -> None:
    """A password that is changed between two questions ends the session at once."""
    users.create_user("changer")
    users.create_model("changer-model", user="changer")
    async with opened(users.url) as authenticator:
        rights = (await enter(authenticator, "changer")).rights
        users.set_password("changer", "another-password")
        with pytest.raises(Unauthenticated):
            await rights.ask(Action.READ, "changer-model", None)
        with pytest.raises(Unauthenticated):
            await enter(authenticator, "changer")


async def test_a_server_that_tells_no_permissions(
    users: UsersServer, proxy: FaultyProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Before MLflow 3.17: callers who may read a model get what READ allows, and the log says so."""
    users.create_user("old-server")
    users.create_model("old-model", user="old-server")
    proxy.unknown = "permissions/get"
    async with opened(proxy.url) as authenticator:
        rights = (await enter(authenticator, "old-server")).rights
        assert await rights.ask(Action.INVOKE, "old-model", None)
        assert not await rights.ask(Action.MANAGE, "old-model", None)
    (record,) = [each for each in caplog.records if each.__dict__["event"] == "mlflow_permissions_unknown"]
    assert record.getMessage().endswith("tell its users' permissions: callers get what READ allows")
