"""Proves that users of MLflow are recognised, and that others learn nothing and cost MLflow little."""

from __future__ import annotations

import asyncio
import base64
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.auth.actions import Action
from gateway.auth.credentials import Credential, parse_credential
from gateway.auth.errors import AuthUnavailable, LimitExceeded, Unauthenticated
from gateway.auth.limits.refusals import RATE_LIMITED
from gateway.auth.mlflow import Bounds
from tests.gateway.auth.mlflow.conftest import ADDRESS, OWN, QUICK, enter, opened, user
from tests.support.faulty_proxy import answer, scripted
from tests.support.mlflow_users import ADMIN, PASSWORD, UsersServer, basic
from tests.support.waiting import until
from workers.metrics import Counters

if TYPE_CHECKING:
    from gateway.auth.mlflow import MlflowAuthenticator
    from tests.support.faulty_proxy import FaultyProxy
    from tests.support.manual_clock import ManualClock
    from tests.support.mlflow_server import MlflowServer


async def refusal(
    authenticator: MlflowAuthenticator, credential: Credential, address: str = ADDRESS
) -> type[Exception] | None:
    """Return the class of the error that a caller gets, None if the caller is let in."""
    try:
        await authenticator.verify(credential, address)
    except (AuthUnavailable, LimitExceeded, Unauthenticated) as error:
        return type(error)
    return None


async def test_a_user_is_recognised_without_another_call(proxy: FaultyProxy, clock: ManualClock) -> None:
    """The name is the one that MLflow says; other credentials of the name are not recognised."""
    async with opened(proxy.url, clock=clock) as authenticator:
        assert authenticator.recognise(user(ADMIN), ADDRESS) is None
        principal = await enter(authenticator, ADMIN)
        assert (principal.id, str(principal)) == ("admin", "mlflow:admin")
        calls = len(proxy.calls)
        assert authenticator.recognise(user(ADMIN), "another address") is principal
        assert await enter(authenticator, ADMIN) is principal
        assert len(proxy.calls) == calls
        assert authenticator.recognise(user(ADMIN, "wrong"), ADDRESS) is None
        assert authenticator.recognise(Credential("bearer", user(ADMIN).secret), ADDRESS) is None
        clock.advance(30)
        assert authenticator.recognise(user(ADMIN), ADDRESS) is None


async def test_wrong_passwords_and_unknown_users_look_alike(users: UsersServer) -> None:
    """The text is the same, and neither is sent before the same time has passed."""
    loop, floor = asyncio.get_running_loop(), 1.0
    users.create_user("known")
    texts = []
    async with opened(users.url, bounds=Bounds(refusal_floor=floor)) as authenticator:
        for name in ("known", "unknown"):
            started = loop.time()
            with pytest.raises(Unauthenticated) as caught:
                await authenticator.verify(user(name, "wrong"), ADDRESS)
            assert loop.time() - started >= floor
            texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert "known" not in texts[0]


@pytest.mark.parametrize(
    ("name", "principal"),
    [
        ("jo.smith@example.org", "jo.smith@example.org"),
        ("zoë müller", "zo%C3%AB%20m%C3%BCller"),
        ('new\nline"; level=info', "new%0Aline%22%3B%20level%3Dinfo"),
        ("token-1a2b", "token-1a2b"),
        ("../a/b?c", "..%2Fa%2Fb%3Fc"),
    ],
)
async def test_odd_names_are_safe_in_logs(users: UsersServer, name: str, principal: str) -> None:
    """A principal's id has no character that could end a field or a line of a log."""
    users.create_user(name)
    async with opened(users.url) as authenticator:
        assert (await enter(authenticator, name)).id == principal
        assert await refusal(authenticator, user(name, "wrong")) is Unauthenticated


@pytest.mark.parametrize("password", ["with:colons:in it", "pässwörd-日本語!", "x" * 4000, " spaces around "])
async def test_odd_passwords_reach_mlflow_as_they_are(users: UsersServer, password: str) -> None:
    """Only the first colon divides, and the text is UTF-8, as in MLflow's client."""
    name = f"odd-{len(password)}"
    users.create_user(name)
    users.set_password(name, password)
    header = f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"
    credential = parse_credential([header], [])
    assert credential is not None
    async with opened(users.url) as authenticator:
        assert (await authenticator.verify(credential, ADDRESS)).id == name
        assert await refusal(authenticator, user(name, password[:-1])) is Unauthenticated


@pytest.mark.parametrize(
    "credential",
    [
        user("", "password"),
        user("admin", ""),
        user("a" * 300, "password"),
        user("admin", "x" * 10_000),
        user("admin", "\udc80"),
        Credential("bearer", "a\r\nX-Injected: 1"),
        Credential("bearer", "x" * 10_000),
        Credential("bearer", "日本"),
        Credential("bearer", ""),
        Credential("key", "gwk_x"),
    ],
    ids=lambda credential: f"{credential.kind} {credential.secret[:12]!r}",
)
async def test_impossible_credentials_cost_mlflow_nothing(proxy: FaultyProxy, credential: Credential) -> None:
    """They are refused before MLflow is called, and cannot add a header to such a call."""
    async with opened(proxy.url) as authenticator:
        assert await refusal(authenticator, credential) is Unauthenticated
        assert proxy.calls == []


async def test_a_flood_of_wrong_passwords_costs_mlflow_ten_calls(
    proxy: FaultyProxy, clock: ManualClock
) -> None:
    """Of each address in a minute, whatever the names; further ones are limited, and others are let in.

    Each request that is limited is counted.
    """
    counters = Counters()
    async with opened(proxy.url, clock=clock, counters=counters) as authenticator:
        await enter(authenticator, ADMIN)
        before = len(proxy.calls)
        flood = [
            refusal(authenticator, user(f"guess{number}", "x"), f"2001:db8::{number:x}")
            for number in range(200)
        ]
        outcomes = await asyncio.gather(*flood)
        assert len(proxy.calls) - before == outcomes.count(Unauthenticated) == 10
        assert outcomes.count(LimitExceeded) == 190
        failures, waiting = (counters.value(RATE_LIMITED, "other", kind) for kind in ("failures", "waiting"))
        assert failures + waiting == 190
        assert await refusal(authenticator, user("late", "x"), "2001:db8::ffff") is LimitExceeded
        assert counters.value(RATE_LIMITED, "other", "failures") == failures + 1
        assert await refusal(authenticator, user("late", "x"), "2001:db8:0:1::1") is Unauthenticated
        clock.advance(31)
        assert await refusal(authenticator, user(ADMIN), "2001:db8::1") is None
        clock.advance(29)
        assert await refusal(authenticator, user("later", "x"), "2001:db8::1") is Unauthenticated


async def test_a_user_name_is_guessed_at_ten_times_from_everywhere(
    proxy: FaultyProxy, clock: ManualClock
) -> None:
    """In a minute, in whatever spelling of upper and lower case; the user who is known stays let in."""
    async with opened(proxy.url, clock=clock) as authenticator:
        await enter(authenticator, ADMIN)
        before = len(proxy.calls)
        guesses = []
        for number in range(30):
            name = "admin" if number % 2 else "ADMIN"
            guesses.append(await refusal(authenticator, user(name, f"x{number}"), f"198.51.100.{number}"))
        assert guesses == [Unauthenticated] * 10 + [LimitExceeded] * 20
        assert len(proxy.calls) - before == 10
        clock.advance(31)
        assert await refusal(authenticator, user(ADMIN)) is None


async def test_the_same_wrong_password_is_asked_once_in_five_seconds(
    proxy: FaultyProxy, clock: ManualClock
) -> None:
    """A client that repeats what it was refused costs nothing."""
    async with opened(proxy.url, clock=clock) as authenticator:
        for _ in range(50):
            assert await refusal(authenticator, user("repeats", "x")) is Unauthenticated
        assert proxy.counted("users/current") == 1
        clock.advance(5)
        assert await refusal(authenticator, user("repeats", "x")) is Unauthenticated
        assert proxy.counted("users/current") == 2


async def test_a_hundred_first_requests_of_a_user_are_one_call(proxy: FaultyProxy) -> None:
    """Both of who it is and of what it may do."""
    async with opened(proxy.url) as authenticator:
        principals = await asyncio.gather(*(enter(authenticator, ADMIN) for _ in range(100)))
        assert len(set(map(id, principals))) == 1
        assert proxy.counted("users/current") == 1


async def test_requests_that_share_a_refused_call_are_counted_one_by_one(
    users: UsersServer, proxy: FaultyProxy, clock: ManualClock
) -> None:
    """Each of them gets the 429; what the gateway asks by itself meanwhile is no request."""
    users.create_user("shares")
    counters, bounds = Counters(), replace(QUICK, calls=1, waiting_of_one=1)
    async with opened(proxy.url, counters=counters, bounds=bounds, clock=clock) as authenticator:
        rights = (await enter(authenticator, "shares")).rights
        proxy.fault = "slow"
        held = [asyncio.create_task(rights.ask(Action.READ, f"m{number}", None)) for number in range(3)]
        await until(lambda: proxy.waiting == 1)
        asked = [rights.ask(Action.READ, "other", None) for _ in range(5)]
        asked_lists = [rights.readable(["other"]) for _ in range(4)]
        refused = await asyncio.gather(*asked, *asked_lists, return_exceptions=True)
        assert [type(each) for each in refused] == [LimitExceeded] * 9
        clock.advance(bounds.refresh)
        assert authenticator.recognise(user("shares"), ADDRESS) is not None
        refreshes = authenticator._asking.refreshes
        assert refreshes._tasks
        await until(lambda: not refreshes._tasks)  # it was refused too
        assert counters.value(RATE_LIMITED, "other", "waiting") == 9
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)


async def test_a_hundred_questions_about_a_model_are_one_call(users: UsersServer, proxy: FaultyProxy) -> None:
    """The callers share the answer."""
    users.create_user("crowd")
    users.create_model("crowd-model", user="crowd")
    async with opened(proxy.url) as authenticator:
        rights = (await enter(authenticator, "crowd")).rights
        answers = await asyncio.gather(*(rights.ask(Action.READ, "crowd-model", None) for _ in range(100)))
        assert set(answers) == {True}
        assert proxy.counted("registered-models/get") == 1


async def test_at_most_four_calls_reach_mlflow_at_once(users: UsersServer, proxy: FaultyProxy) -> None:
    """Two of them of credentials that were never right, and two of one user; others wait or are limited."""
    users.create_user("greedy")
    counters = Counters()
    async with opened(proxy.url, counters=counters) as authenticator:
        rights = (await enter(authenticator, "greedy")).rights
        proxy.fault = "slow"
        asked = [asyncio.create_task(rights.ask(Action.READ, f"m{number}", None)) for number in range(40)]
        guesses = [
            asyncio.create_task(refusal(authenticator, user(f"g{number}", "x"), f"198.51.100.{number}"))
            for number in range(60)
        ]
        limited = 40 - 2 - QUICK.waiting_of_one, 60 - 2 - QUICK.waiting_strangers
        await until(lambda: sum(task.done() for task in (*asked, *guesses)) >= sum(limited))
        await until(lambda: proxy.waiting >= 4)
        assert proxy.most_waiting == 4
        assert len([task for task in asked if task.done()]) == limited[0]
        assert len([task for task in guesses if task.done() and task.result() is LimitExceeded]) == limited[1]
        assert counters.value(RATE_LIMITED, "other", "waiting") == sum(limited)
        for task in (*asked, *guesses):
            task.cancel()
        await asyncio.gather(*asked, *guesses, return_exceptions=True)


async def test_a_cancelled_caller_takes_no_slot_along(users: UsersServer, proxy: FaultyProxy) -> None:
    """Clients that leave while MLflow is slow do not keep the next ones out."""
    users.create_user("leaver")
    async with opened(proxy.url, bounds=Bounds(refusal_floor=0, calls=1, strangers=1)) as authenticator:
        proxy.fault = "slow"
        for _ in range(3):
            leaving = asyncio.create_task(enter(authenticator, "leaver"))
            await until(lambda: proxy.waiting > 0)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
        proxy.fault = ""
        assert (await enter(authenticator, "leaver")).id == "leaver"


async def test_another_password_counts_within_thirty_seconds(users: UsersServer, clock: ManualClock) -> None:
    """The old one is refused after that time, and the new one is right at once."""
    users.create_user("mover")
    async with opened(users.url, clock=clock) as authenticator:
        await enter(authenticator, "mover")
        users.set_password("mover", "another-password")
        new = await authenticator.verify(user("mover", "another-password"), ADDRESS)
        assert new.id == "mover"
        assert authenticator.recognise(user("mover"), ADDRESS) is not None
        clock.advance(30)
        assert await refusal(authenticator, user("mover")) is Unauthenticated
        assert authenticator.recognise(user("mover"), ADDRESS) is None


async def test_a_deleted_user_is_refused_within_thirty_seconds(
    users: UsersServer, clock: ManualClock
) -> None:
    """Also if it goes on without a pause: MLflow is asked in the background before the time is over."""
    users.create_user("leaving")
    async with opened(users.url, clock=clock) as authenticator:
        await enter(authenticator, "leaving")
        users.delete_user("leaving")
        clock.advance(20)
        assert authenticator.recognise(user("leaving"), ADDRESS) is not None
        await until(lambda: authenticator.recognise(user("leaving"), ADDRESS) is None)
        assert await refusal(authenticator, user("leaving")) is Unauthenticated


async def test_a_caller_who_goes_on_never_waits(proxy: FaultyProxy, clock: ManualClock) -> None:
    """After twenty seconds one call in the background makes the answer fresh again."""
    async with opened(proxy.url, clock=clock) as authenticator:
        principal = await enter(authenticator, ADMIN)
        clock.advance(25)
        for _ in range(10):
            assert authenticator.recognise(user(ADMIN), ADDRESS) is principal
        await until(lambda: proxy.counted("users/current/permissions") >= 2)
        clock.advance(10)
        await until(lambda: authenticator.recognise(user(ADMIN), ADDRESS) is not None)
        assert proxy.counted("users/current/permissions") == 2


async def test_known_users_are_let_in_while_mlflow_is_away(proxy: FaultyProxy, clock: ManualClock) -> None:
    """For five minutes after MLflow's last answer; others get an error that says to try again."""
    async with opened(proxy.url, clock=clock) as authenticator:
        await enter(authenticator, ADMIN)
        proxy.fault = "away"
        clock.advance(31)
        assert await refusal(authenticator, user(ADMIN)) is None
        calls = len(proxy.calls)
        assert await refusal(authenticator, user(ADMIN)) is None
        assert len(proxy.calls) == calls
        assert await refusal(authenticator, user("stranger", "x")) is AuthUnavailable
        clock.advance(269)
        assert await refusal(authenticator, user(ADMIN)) is AuthUnavailable
        proxy.fault = ""
        assert await refusal(authenticator, user(ADMIN)) is None


@pytest.mark.parametrize("fault", ["wrong", "html", "500", "half", "cut"])
async def test_answers_of_something_else_let_nobody_in(
    proxy: FaultyProxy, fault: str, clock: ManualClock
) -> None:
    """An error page, an invalid body or half an answer is no yes, and no wrong password either."""
    bounds = Bounds(refusal_floor=0, failures=2)
    async with opened(proxy.url, clock=clock, bounds=bounds) as authenticator:
        proxy.fault = fault  # type: ignore[assignment] # one of the names of a Fault
        for _ in range(bounds.failures + 1):
            assert await refusal(authenticator, user(ADMIN)) is AuthUnavailable
        proxy.fault = ""
        assert await refusal(authenticator, user(ADMIN)) is None


async def test_a_server_that_asks_nobody_lets_nobody_in(
    mlflow_server: MlflowServer, caplog: pytest.LogCaptureFixture
) -> None:
    """MLflow without authentication would accept any password; the log says how to start it."""
    async with opened(mlflow_server.url) as authenticator:
        with caplog.at_level(logging.ERROR):
            assert await refusal(authenticator, user(ADMIN)) is AuthUnavailable
            assert await refusal(authenticator, Credential("bearer", "anything")) is AuthUnavailable
    assert "--app-name basic-auth" in caplog.text


async def test_refused_callers_leave_the_gateways_own_calls_alone(proxy: FaultyProxy) -> None:
    """Their calls have their credentials alone, and many refusals do not count as an outage."""
    own = basic(ADMIN)
    async with opened(proxy.url, bounds=Bounds(refusal_floor=0, failures=100)) as authenticator:
        for number in range(30):
            assert await refusal(authenticator, user(f"unknown{number}", "x")) is Unauthenticated
        assert own not in proxy.authorizations
        assert proxy.authorizations.count("") == 1
        assert await refusal(authenticator, user(ADMIN)) is None


async def test_no_cookie_goes_from_one_caller_to_another() -> None:
    """What MLflow, or a proxy in front of it, sets for one caller is never sent for the next."""
    challenge = answer(401, b"no", media_type="text/html")
    more = "Set-Cookie: session=of-ann; Path=/\r\n"
    ann = answer(200, b'{"user": {"username": "ann", "is_admin": false}}', more=more)
    none = answer(200, b'{"is_admin": false, "permissions": []}', more=more)
    bob = answer(200, b'{"user": {"username": "bob", "is_admin": false}}')
    async with scripted(challenge, ann, none, bob, none) as server, opened(server.url) as authenticator:
        for name in ("ann", "bob"):
            await authenticator.verify(user(name), ADDRESS)
        heads = [head.lower() for head in server.requests]
    assert len(heads) == 5
    assert not any(b"cookie" in head for head in heads)
    assert [head.count(b"authorization:") for head in heads] == [0, 1, 1, 1, 1]


async def test_the_name_must_be_the_one_that_was_shown() -> None:
    """A proxy that takes the name from elsewhere, as from the gateway's certificate, lets no caller in."""
    challenge = answer(401, b"no", media_type="text/html")
    other = answer(200, b'{"user": {"username": "gateway", "is_admin": true}}')
    async with scripted(challenge, other) as server, opened(server.url) as authenticator:
        assert await refusal(authenticator, user("mallory", "x")) is Unauthenticated


async def test_a_token_is_its_users(clock: ManualClock) -> None:
    """Of a server behind an identity provider: the name is MLflow's, or else a digest of the token."""
    challenge = answer(401, b"no", media_type="text/html")
    missing = answer(404, b"<h1>Not Found</h1>", media_type="text/html")
    ann = answer(200, b'{"username": "ann", "is_admin": false}')
    async with scripted(challenge, ann, missing) as server, opened(server.url) as authenticator:
        principal = await authenticator.verify(Credential("bearer", "abc.def"), ADDRESS)
        assert principal.id == "ann"
        assert b"Authorization: Bearer abc.def" in server.requests[1]
    models = answer(200, b"{}")
    async with scripted(challenge, missing, models) as server, opened(server.url) as authenticator:
        principal = await authenticator.verify(Credential("bearer", "abc.def"), ADDRESS)
        assert principal.id.startswith("token:")
        assert "abc" not in principal.id


async def test_a_redirect_to_a_login_page_is_no_yes() -> None:
    """It is not followed, and counts as wrong credentials."""
    login = answer(302, more="Location: https://login.example.org/\r\n")
    async with scripted(login) as server, opened(server.url) as authenticator:
        assert await refusal(authenticator, Credential("bearer", "expired")) is Unauthenticated
        assert len(server.requests) == 2


async def test_nothing_tells_a_password(users: UsersServer, caplog: pytest.LogCaptureFixture) -> None:
    """Neither errors, nor logs of all levels, nor the texts of objects."""
    users.create_user("discreet")
    secret = PASSWORD.format("discreet")
    with caplog.at_level(logging.DEBUG):
        async with opened(users.url) as authenticator:
            principal = await enter(authenticator, "discreet")
            with pytest.raises(Unauthenticated) as caught:
                await authenticator.verify(user("discreet", f"{secret}2"), ADDRESS)
            session = next(iter(authenticator._sessions.values()))
    encoded = base64.b64encode(f"discreet:{secret}".encode()).decode()
    told = [caplog.text, repr(principal), repr(session), repr(caught.value), repr(session.client)]
    assert not any(word in text for text in told for word in (secret, encoded[4:]))


async def test_the_gateways_own_password_is_not_used_for_callers(users: UsersServer) -> None:
    """Neither from the settings nor from the server's address, also not for a caller without any."""
    address = users.url.replace("://", f"://{OWN['MLFLOW_TRACKING_USERNAME']}:password-of-admin@")
    async with opened(address) as authenticator:
        assert await refusal(authenticator, user(ADMIN, "x")) is Unauthenticated
        assert await refusal(authenticator, user(ADMIN)) is None
