"""Proves whom a token names, with which rights, and what is remembered of it, with a running issuer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import pytest

from gateway.auth.actions import Action
from gateway.auth.credentials import Credential
from gateway.auth.errors import Unauthenticated
from gateway.auth.grants import NO_RIGHTS, parse_grants
from gateway.auth.jwt import JwtAuthenticator
from gateway.auth.jwt.authenticator import principal_id
from gateway.auth.jwt.threads import VerificationThreads
from gateway.domain.limits import Limits
from gateway.settings.jwt import JwtSettings
from tests.support.issuer import Issuer, rsa_key, run_issuer, sign
from tests.support.token_callers import READ_ALL, bearer, token_caller
from workers.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

T = TypeVar("T")
INVOKE_WINE = parse_grants({"invoke": ["wine"]})


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """Return an issuer with one key."""
    async with run_issuer() as running:
        yield running


async def test_the_access_file_gives_the_rights(issuer: Issuer) -> None:
    """It is asked with the issuer, the subject and the groups."""
    async with token_caller(issuer, groups_claim="realm_access.roles") as caller:
        caller.file.groups["ops"] = READ_ALL, Limits(burst=3)
        principal = await caller.ask(issuer.token(realm_access={"roles": ["x", "ops"]}))
        assert caller.file.asked == [(issuer.url, "ann", ("x", "ops"))]
        assert (principal.rights, principal.limits) == (READ_ALL, Limits(burst=3))
        assert str(principal) == f"jwt:{issuer.url}|sub:ann"
        assert principal.configured is False


async def test_a_caller_without_rights_is_known(issuer: Issuer) -> None:
    """It may do nothing, and has no limits of its own."""
    async with token_caller(issuer) as caller:
        principal = await caller.ask(issuer.token())
        assert principal.rights is NO_RIGHTS
        assert principal.limits == Limits()
        assert principal.rights.decide(Action.INVOKE, "wine", None) is False


async def test_metrics_name_the_subjects_of_the_access_file(issuer: Issuer) -> None:
    """There are few; those who are there by a group alone may be millions."""
    async with token_caller(issuer) as caller:
        caller.file.groups["ops"] = READ_ALL, Limits()
        caller.file.subjects["ann"] = INVOKE_WINE, Limits()
        assert (await caller.ask(issuer.token(groups=["ops"]))).configured
        assert not (await caller.ask(issuer.token(sub="joe", groups=["ops"]))).configured
        assert not (await caller.ask(issuer.token(sub="eve"))).configured
        caller.file.subjects.clear()
        caller.file.version += 1
        assert not (await caller.ask(issuer.token(groups=["ops"]))).configured


async def test_a_change_of_the_access_file_counts_at_once(issuer: Issuer) -> None:
    """For tokens that are known too, without another verification; until then the file is asked once."""
    async with token_caller(issuer) as caller:
        token = issuer.token()
        first = await caller.ask(token)
        assert await caller.ask(token) is first
        assert len(caller.file.asked) == 1
        caller.file.subjects["ann"] = INVOKE_WINE, Limits()
        caller.file.version += 1
        second = caller.authenticator.recognise(bearer(token))
        assert second is not None
        assert second.rights is INVOKE_WINE
        del caller.file.subjects["ann"]
        caller.file.version += 1
        assert (await caller.ask(token)).rights is NO_RIGHTS


async def test_a_token_is_recognised_after_it_was_verified(issuer: Issuer) -> None:
    """Without the issuer or a thread, and for five minutes at most."""
    async with token_caller(issuer) as caller:
        token = issuer.token()
        assert caller.authenticator.recognise(bearer(token)) is None
        principal = await caller.authenticator.verify(bearer(token))
        assert caller.authenticator.recognise(bearer(token)) is principal
        assert await caller.authenticator.verify(bearer(token)) is principal
        caller.clock.advance(300)
        assert caller.authenticator.recognise(bearer(token)) is None
        assert (await caller.authenticator.verify(bearer(token))).id == principal.id


async def test_other_credentials_are_not_tokens(issuer: Issuer) -> None:
    """A key or a password is not looked at, even if it is a token."""
    async with token_caller(issuer) as caller:
        token = issuer.token()
        await caller.ask(token)
        for kind in ("key", "basic"):
            credential = Credential(kind, token)
            assert caller.authenticator.recognise(credential) is None
            with pytest.raises(Unauthenticated):
                await caller.authenticator.verify(credential)


async def test_one_token_at_once_is_verified_once(issuer: Issuer) -> None:
    """100 first requests with it share one verification, and one principal."""
    async with token_caller(issuer) as caller:
        token = issuer.token()
        principals = await asyncio.gather(*(caller.ask(token) for _ in range(100)))
        assert len({id(principal) for principal in principals}) == 1
        assert len(caller.file.asked) == 1


async def test_a_wrong_token_is_verified_once(issuer: Issuer) -> None:
    """Its signature is not computed again for requests that repeat it, one after the other or at once."""
    verifications = 0

    class CountingThreads(VerificationThreads):
        async def run(self, call: Callable[[], T]) -> T:
            nonlocal verifications
            verifications += 1
            return await super().run(call)

    async with token_caller(issuer, threads=CountingThreads(wait_seconds=60)) as caller:
        forged, expired = issuer.token(rsa_key("attacker")), issuer.token(exp=1)
        for token, reason in ((forged, "bad signature"), (expired, "expired")):
            assert set(await asyncio.gather(*(caller.reason(token) for _ in range(20)))) == {reason}
            assert [await caller.reason(token) for _ in range(3)] == [reason] * 3
    assert verifications == 2


async def test_a_flood_of_wrong_tokens_leaves_good_ones(issuer: Issuer) -> None:
    """500 distinct forgeries and 500 times one, at once: all are refused, and known callers are served."""
    async with token_caller(issuer) as caller:
        good = issuer.token()
        principal = await caller.ask(good)
        forged = [sign(issuer.claims(jti=str(n)), key=rsa_key("attacker")) for n in range(500)]
        flood = asyncio.gather(*map(caller.reason, forged + forged[:1] * 500))
        while not flood.done():
            assert caller.authenticator.recognise(bearer(good)) is principal
            await asyncio.sleep(0)
        assert set(await flood) == {"bad signature"}


def test_ids_are_short_and_stay_apart() -> None:
    """A long one ends with a digest of the whole."""
    issuer = "https://id.example.org/" + "x" * 100
    assert principal_id("https://id.example.org", "ann") == "https://id.example.org|sub:ann"
    one, two = principal_id(issuer, "a" * 255), principal_id(issuer, "a" * 254 + "b")
    assert (len(one), len(two)) == (256, 256)
    assert one != two


def test_an_issuer_and_an_audience_are_needed() -> None:
    """Without them tokens for anything would be accepted."""
    for values in ({}, {"issuer": "https://id.example.org"}):
        with pytest.raises(ValueError, match="GATEWAY_JWT_AUDIENCE"):
            JwtAuthenticator(
                JwtSettings.model_validate(values),
                rights_for=lambda *_: None,
                generation=lambda: 0,
                counters=Counters(),
            )
