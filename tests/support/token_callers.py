"""An authenticator of tokens beside a running issuer, and what a test asks it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from gateway.auth.credentials import Credential
from gateway.auth.errors import Unauthenticated
from gateway.auth.grants import parse_grants
from gateway.auth.jwt import JwtAuthenticator
from gateway.auth.jwt.issuer_keys import IssuerKeys
from gateway.auth.jwt.jwks import JwksClient
from gateway.auth.jwt.threads import VerificationThreads
from gateway.auth.jwt.token_cache import TokenCache
from gateway.settings.jwt import JwtSettings
from tests.support.issuer import AUDIENCE
from tests.support.manual_clock import ManualClock
from workers.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from gateway.auth.jwt.key_set import KeySet
    from gateway.auth.principal import Principal
    from gateway.auth.rights import Rights
    from gateway.domain.limits import Limits
    from tests.support.issuer import Issuer

ROUTINE_SECONDS = 3600.0  # no refresh happens during a test unless it asks for one


def bearer(token: str) -> Credential:
    """Return the credential of a header with this token."""
    return Credential("bearer", token)


def jwt_settings(issuer: str, **changes: Any) -> JwtSettings:
    """Return settings for the tokens of an issuer."""
    return JwtSettings.model_validate({"issuer": issuer, "audience": (AUDIENCE,), **changes})


@dataclass
class AccessFile:
    """What the access file says, as far as the authenticator asks."""

    subjects: dict[str, tuple[Rights, Limits]] = field(default_factory=dict)
    groups: dict[str, tuple[Rights, Limits]] = field(default_factory=dict)
    version: int = 0
    asked: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)

    def rights_for(
        self, issuer: str, subject: str, groups: Sequence[str]
    ) -> tuple[Rights, Limits, bool] | None:
        """Return the rights of the subject, else those of its first group that has any."""
        self.asked.append((issuer, subject, tuple(groups)))
        if subject in self.subjects:
            return *self.subjects[subject], True
        found = [self.groups[group] for group in groups if group in self.groups]
        return (*found[0], False) if found else None

    def generation(self) -> int:
        """Return the version."""
        return self.version


@dataclass
class TokenCaller:
    """A running authenticator with its clock, and the file of rights that it asks."""

    authenticator: JwtAuthenticator
    keys: IssuerKeys
    clock: ManualClock
    file: AccessFile

    async def ask(self, token: str) -> Principal:
        """Return the principal of a token, known or not."""
        credential = bearer(token)
        return self.authenticator.recognise(credential) or await self.authenticator.verify(credential)

    async def reason(self, token: str) -> str:
        """Return why a token is refused; it must not be recognised either."""
        with pytest.raises(Unauthenticated) as caught:
            await self.ask(token)
        assert self.authenticator.recognise(bearer(token)) is None
        assert str(caught.value) == f"The token is not valid: {caught.value.reason}."
        assert caught.value.source == "jwt"
        return caught.value.reason


@asynccontextmanager
async def token_caller(
    issuer: Issuer, *, wait_seconds: float = 60.0, threads: VerificationThreads | None = None, **changes: Any
) -> AsyncIterator[TokenCaller]:
    """Yield an authenticator of the issuer's tokens, whose time stands still but for `exp` and the like."""
    made: list[IssuerKeys] = []
    clock, file = ManualClock(), AccessFile()

    def make(
        fetch: Callable[[], Coroutine[Any, Any, KeySet]], *, on_change: Callable[[KeySet | None], None]
    ) -> IssuerKeys:
        keys = IssuerKeys(
            fetch,
            on_change=on_change,
            fresh_seconds=ROUTINE_SECONDS,
            retry_seconds=ROUTINE_SECONDS,
            wait_seconds=wait_seconds,
            clock=clock,
        )
        made.append(keys)
        return keys

    settings = jwt_settings(issuer.url, **changes)
    authenticator = JwtAuthenticator(
        settings,
        rights_for=file.rights_for,
        generation=file.generation,
        counters=Counters(),
        client=JwksClient(settings, timeout=60),
        keys=make,
        tokens=TokenCache(clock=clock),
        threads=threads or VerificationThreads(wait_seconds=60),
    )
    async with authenticator:
        yield TokenCaller(authenticator, made[0], clock, file)


READ_ALL = parse_grants({"read": ["*"]})
