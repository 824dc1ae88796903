"""Proves how keys are replaced, kept while the issuer is away, and dropped, with a running issuer."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from aiohttp import web

from gateway.auth.errors import AuthUnavailable, Unauthenticated
from gateway.auth.jwt.issuer_keys import IssuerKeys
from gateway.auth.jwt.jwks import KeySetUnavailable
from gateway.auth.jwt.key_set import KeySet
from gateway.auth.jwt.threads import VerificationThreads
from tests.support.issuer import Issuer, answer, ec_key, jwk, never, rsa_key, run_issuer, sign
from tests.support.token_callers import bearer, token_caller
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

T = TypeVar("T")


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """Return an issuer with one key."""
    async with run_issuer() as running:
        yield running


async def test_a_new_key_works_at_once(issuer: Issuer) -> None:
    """A token with an unknown key has the issuer asked, and tokens of before stay known."""
    async with token_caller(issuer) as caller:
        old = issuer.token()
        principal = await caller.ask(old)
        issuer.keys.append(jwk(rsa_key("b"), "b"))
        assert (await caller.ask(issuer.token(rsa_key("b"), kid="b"))).id == principal.id
        assert caller.authenticator.recognise(bearer(old)) is principal
    assert issuer.requests["/keys"] == 2


async def test_a_removed_key_is_refused_after_the_refresh(issuer: Issuer) -> None:
    """Also with tokens that were accepted before, whereas those of other keys stay known."""
    issuer.keys.append(jwk(ec_key(), "e"))
    async with token_caller(issuer) as caller:
        old, other = issuer.token(), issuer.token(ec_key(), algorithm="ES256", kid="e")
        await caller.ask(old)
        kept = await caller.ask(other)
        del issuer.keys[0]
        assert await caller.keys.refresh()
        assert await caller.reason(old) == "unknown key"
        assert caller.authenticator.recognise(bearer(other)) is kept


async def test_a_key_that_is_replaced_under_its_id_is_refused(issuer: Issuer) -> None:
    """The tokens that the old one signed are forgotten: an id is not a key."""
    async with token_caller(issuer) as caller:
        old = issuer.token()
        await caller.ask(old)
        issuer.keys[0] = jwk(rsa_key("b"))
        await caller.keys.refresh()
        assert await caller.reason(old) == "bad signature"
        assert (await caller.ask(issuer.token(rsa_key("b")))).source == "jwt"


@pytest.mark.parametrize("replacement", [[], [jwk(rsa_key("b"))]])
async def test_a_key_that_goes_during_a_verification_is_refused(issuer: Issuer, replacement: Any) -> None:
    """The token is not remembered by a key that is no longer the issuer's."""

    class SlowThreads(VerificationThreads):
        async def run(self, call: Callable[[], T]) -> T:
            verified = await super().run(call)
            issuer.keys[:] = replacement
            await caller.keys.refresh()
            return verified

    async with token_caller(issuer, threads=SlowThreads()) as caller:
        assert await caller.reason(issuer.token()) == "unknown key"


async def test_a_refused_token_is_tried_again_with_new_keys(issuer: Issuer) -> None:
    """What is remembered of refusals ends with the keys that they were made by."""
    async with token_caller(issuer) as caller:
        early = issuer.token(rsa_key("b"))
        assert await caller.reason(early) == "bad signature"
        issuer.keys[0] = jwk(rsa_key("b"))
        await caller.keys.refresh()
        assert (await caller.ask(early)).source == "jwt"


async def test_no_keys_are_accepted_if_the_issuer_has_none(issuer: Issuer) -> None:
    """An empty list is an answer, not a failure: all keys are withdrawn."""
    async with token_caller(issuer) as caller:
        token = issuer.token()
        await caller.ask(token)
        issuer.keys.clear()
        assert await caller.keys.refresh()
        assert await caller.reason(token) == "unknown key"


async def test_many_unknown_keys_ask_the_issuer_once(issuer: Issuer) -> None:
    """200 requests at once, and all that follow within 30 seconds, cause one fetch."""
    async with token_caller(issuer) as caller:
        await caller.ask(issuer.token())
        forged = [issuer.token(rsa_key("attacker"), kid=f"k{number}") for number in range(200)]
        assert issuer.requests["/keys"] == 1
        assert set(await asyncio.gather(*map(caller.reason, forged))) == {"unknown key"}
        assert issuer.requests["/keys"] == 2
        caller.clock.advance(29)
        assert await caller.reason(forged[0]) == "unknown key"
        assert issuer.requests["/keys"] == 2
        caller.clock.advance(2)
        assert await caller.reason(forged[0]) == "unknown key"
        assert issuer.requests["/keys"] == 3


async def test_many_good_tokens_of_a_new_key_wait_for_one_fetch(issuer: Issuer) -> None:
    """None of 200 requests is refused because another one has asked already."""
    async with token_caller(issuer) as caller:
        await caller.ask(issuer.token())
        issuer.keys.append(jwk(rsa_key("b"), "b"))
        tokens = [issuer.token(rsa_key("b"), kid="b", jti=str(number)) for number in range(200)]
        assert len(await asyncio.gather(*map(caller.ask, tokens))) == 200
    assert issuer.requests["/keys"] == 2


async def test_the_gateway_starts_without_the_issuer(issuer: Issuer, caplog: Any) -> None:
    """Requests get 503, at once after the first failure, until the issuer answers."""
    issuer.answers["/keys"] = answer(status=500)
    async with token_caller(issuer) as caller:
        for _ in range(2):
            with pytest.raises(AuthUnavailable, match="try again"):
                await caller.ask(issuer.token())
        assert issuer.requests["/keys"] == 1
        del issuer.answers["/keys"]
        assert await caller.keys.refresh()
        assert (await caller.ask(issuer.token())).source == "jwt"
    events = [getattr(record, "event", "") for record in caplog.records]
    assert events.count("jwt_keys_unavailable") == 1


async def test_a_silent_issuer_holds_up_neither_start_nor_requests(issuer: Issuer) -> None:
    """Opening waits for nothing; a request waits for a short time."""
    issuer.answers["/keys"] = issuer.answers["/.well-known/openid-configuration"] = never
    async with token_caller(issuer, wait_seconds=0.05) as caller:
        with pytest.raises(AuthUnavailable):
            await caller.ask(issuer.token())
        with pytest.raises(AuthUnavailable):
            await caller.ask(issuer.token())
        await until(lambda: issuer.requests.total() > 0)
    assert issuer.requests.total() == 1


async def test_the_last_keys_serve_while_the_issuer_is_away(issuer: Issuer) -> None:
    """New tokens of known keys too. Whether an unknown key is a new one cannot be said then: 503, not 401."""
    async with token_caller(issuer) as caller:
        await caller.ask(issuer.token())
        issuer.answers["/keys"] = answer(status=503)
        assert not await caller.keys.refresh()
        caller.clock.advance(24 * 3600 - 1)
        assert not await caller.keys.refresh()
        assert (await caller.ask(issuer.token(sub="bob"))).id.endswith("|sub:bob")
        assert await caller.reason(issuer.token(rsa_key("attacker"))) == "bad signature"
        with pytest.raises(AuthUnavailable):
            await caller.ask(issuer.token(rsa_key("b"), kid="b"))


async def test_keys_are_dropped_after_a_day_without_the_issuer(issuer: Issuer) -> None:
    """And with them the tokens that they verified."""
    async with token_caller(issuer) as caller:
        token = issuer.token()
        await caller.ask(token)
        issuer.answers["/keys"] = answer(status=503)
        caller.clock.advance(24 * 3600)
        assert not await caller.keys.refresh()
        assert caller.authenticator.recognise(bearer(token)) is None
        with pytest.raises(AuthUnavailable):
            await caller.ask(token)


async def test_a_flood_of_unknown_keys_does_not_reach_an_issuer_that_is_away(issuer: Issuer) -> None:
    """Its failures count as questions."""
    async with token_caller(issuer) as caller:
        await caller.ask(issuer.token())
        issuer.answers["/keys"] = answer(status=500)
        for number in range(50):
            with pytest.raises(AuthUnavailable):
                await caller.ask(issuer.token(rsa_key("attacker"), kid=f"k{number}"))
    assert issuer.requests["/keys"] == 2


async def test_keys_are_refreshed_without_requests() -> None:
    """An idle gateway notices a removed key too; after a failure the next try comes sooner."""
    calls, failing = 0, True

    async def fetch() -> KeySet:
        nonlocal calls
        calls += 1
        if failing:
            raise KeySetUnavailable("away")
        return KeySet(())

    keys = IssuerKeys(fetch, on_change=lambda _: None, fresh_seconds=0.001, retry_seconds=0.001)
    task = asyncio.create_task(keys.run())
    await until(lambda: calls >= 3)
    failing = False
    await until(lambda: keys.current is not None)
    seen = calls
    await until(lambda: calls >= seen + 3)
    task.cancel()
    await asyncio.wait([task])
    await keys.close()


async def test_unusable_keys_are_logged_once(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    """Not with each refresh."""
    issuer.keys.append({"kty": "oct", "k": "c2VjcmV0", "kid": "o"})
    with caplog.at_level(logging.WARNING):
        async with token_caller(issuer) as caller:
            await caller.ask(issuer.token())
            await caller.keys.refresh()
            await caller.keys.refresh()
    lines = [record.getMessage() for record in caplog.records if "not used" in record.getMessage()]
    assert lines == [
        "The issuer has 1 usable keys; not used: key 2 has the type 'oct' '', which is not accepted"
    ]
    assert "c2VjcmV0" not in caplog.text


async def test_a_token_without_a_key_id_needs_a_single_key(issuer: Issuer) -> None:
    """With two that fit, which one is meant is not guessed."""
    async with token_caller(issuer) as caller:
        assert (await caller.ask(issuer.token(kid=None))).source == "jwt"
        issuer.keys.append(jwk(rsa_key("b"), None))
        await caller.keys.refresh()
        assert await caller.reason(issuer.token(kid=None, sub="bob")) == "unknown key"
        assert (await caller.ask(issuer.token(sub="bob"))).source == "jwt"


async def test_closing_ends_requests_that_wait(issuer: Issuer) -> None:
    """A request that waits for a silent issuer ends with the gateway; nothing is left running."""
    issuer.answers["/keys"] = never
    async with token_caller(issuer) as caller:
        waiting = asyncio.create_task(caller.ask(issuer.token()))
        await until(lambda: issuer.requests["/keys"] == 1)
    with pytest.raises(Exception, match="shutting down"):
        await waiting


async def test_a_cancelled_request_leaves_the_others(issuer: Issuer) -> None:
    """They share one verification and one fetch, which one caller's end does not end."""
    go = asyncio.Event()

    async def wait(_: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.json_response({"keys": issuer.keys})

    issuer.answers["/keys"] = wait
    async with token_caller(issuer) as caller:
        token = issuer.token()
        first, second = (asyncio.create_task(caller.ask(token)) for _ in range(2))
        await until(lambda: issuer.requests["/keys"] == 1)
        first.cancel()
        await asyncio.wait([first])
        go.set()
        assert (await second).source == "jwt"
        assert first.cancelled()


async def test_refusals_name_no_secret(issuer: Issuer) -> None:
    """Neither the text nor the representation of an error or a credential has the token."""
    async with token_caller(issuer) as caller:
        token = sign(issuer.claims(), key=rsa_key("attacker"))
        with pytest.raises(Unauthenticated) as caught:
            await caller.ask(token)
        assert token[-40:] not in f"{caught.value!r} {bearer(token)!r}"
