"""Recognises callers by their tokens."""

from __future__ import annotations

import hashlib
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, Self, cast

from gateway.auth.errors import Unauthenticated
from gateway.auth.grants import NO_RIGHTS
from gateway.auth.jwt.issuer_keys import IssuerKeys
from gateway.auth.jwt.jwks import JwksClient
from gateway.auth.jwt.refusal import refusal
from gateway.auth.jwt.threads import VerificationThreads
from gateway.auth.jwt.token_cache import KnownToken, TokenCache
from gateway.auth.jwt.verifier import TokenVerifier
from gateway.auth.principal import Principal
from gateway.concurrency.background import supervised_task
from gateway.concurrency.singleflight import SingleFlight
from gateway.domain.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from gateway.auth.credentials import Credential
    from gateway.auth.jwt.refusal import Reason
    from gateway.auth.rights import Rights
    from gateway.settings.jwt import JwtSettings
    from workers.metrics import Counters

    RightsLookup = Callable[[str, str, Sequence[str]], tuple[Rights, Limits, bool] | None]

_MAX_TOKEN_LENGTH: Final = 16 * 2**10
_MAX_ID_LENGTH: Final = 256


class JwtAuthenticator:
    """An authenticator of one issuer's tokens.

    `rights_for(issuer, subject, groups)` returns what the access file gives, and whether it has the subject
    itself, or None: then the caller is known but has no rights. It is asked again when `generation()`
    changes.
    """

    def __init__(
        self,
        settings: JwtSettings,
        *,
        rights_for: RightsLookup,
        generation: Callable[[], int],
        counters: Counters,
        client: JwksClient | None = None,
        keys: Callable[..., IssuerKeys] = IssuerKeys,
        tokens: TokenCache | None = None,
        threads: VerificationThreads | None = None,
    ) -> None:
        if not settings.issuer or not settings.audience:
            raise ValueError("tokens need GATEWAY_JWT_ISSUER and GATEWAY_JWT_AUDIENCE")
        self._issuer = settings.issuer
        self._rights_for = rights_for
        self._generation = generation
        self._counters = counters
        self._client = client or JwksClient(settings)
        self._tokens = TokenCache() if tokens is None else tokens
        self._keys = keys(self._client.fetch, on_change=self._tokens.keep_keys)
        self._verifier = TokenVerifier(settings)
        self._threads = threads or VerificationThreads()
        self._flight: SingleFlight[bytes] = SingleFlight()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start to fetch the keys; do not wait for them."""
        async with AsyncExitStack() as stack:
            stack.callback(self._threads.close)
            stack.push_async_callback(self._flight.close)
            await stack.enter_async_context(self._client)
            stack.push_async_callback(self._keys.close)
            await stack.enter_async_context(
                supervised_task(self._keys.run, name="keys of the issuer", counters=self._counters)
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def recognise(self, credential: Credential) -> Principal | None:
        """Return the principal of a token that was verified a short time ago, else None."""
        digest = _digest(credential)
        known = self._tokens.get(digest) if digest is not None else None
        return None if known is None else self._principal(known)

    async def verify(self, credential: Credential) -> Principal:
        """Return the principal of a token.

        Raise Unauthenticated with the reason, or AuthUnavailable if the issuer's keys are not known or too
        many tokens are being verified.
        """
        digest = _digest(credential)
        if digest is None:
            raise refusal("malformed")
        known = self._tokens.get(digest)
        if known is None:
            if (reason := self._tokens.reason_to_refuse(digest)) is not None:
                raise refusal(reason)
            known = await self._flight.do(digest, partial(self._verify, credential.secret, digest))
        return self._principal(known)

    async def _verify(self, token: str, digest: bytes) -> KnownToken:
        header = self._verifier.read_header(token)
        key = await self._keys.find(header.kid, header.algorithm)
        try:
            verified = await self._threads.run(partial(self._verifier.verify, token, key))
        except Unauthenticated as error:
            self._tokens.refuse(digest, cast("Reason", error.reason))
            raise
        if await self._keys.find(header.kid, header.algorithm) != key:
            raise refusal("unknown key")  # the issuer replaced it in the meantime
        return self._tokens.add(digest, verified)

    def _principal(self, known: KnownToken) -> Principal:
        generation = self._generation()
        if known.principal is None or known.generation != generation:
            token = known.token
            found = self._rights_for(self._issuer, token.subject, token.groups)
            rights, limits, named = found if found is not None else (NO_RIGHTS, Limits(), False)
            name = principal_id(self._issuer, token.subject)
            known.principal = Principal(name, "jwt", rights, limits, configured=named)
            known.generation = generation
        return known.principal


def _digest(credential: Credential) -> bytes | None:
    """Return the SHA-256 of a token, or None for what is none."""
    token = credential.secret
    if credential.kind != "bearer" or len(token) > _MAX_TOKEN_LENGTH or not token.isascii():
        return None
    return hashlib.sha256(token.encode()).digest()


def principal_id(issuer: str, subject: str) -> str:
    """Return `issuer|sub:subject`, as in the access file; a digest ends one of more than 256 characters."""
    full = f"{issuer}|sub:{subject}"
    if len(full) <= _MAX_ID_LENGTH:
        return full
    digest = hashlib.sha256(full.encode()).hexdigest()
    return f"{full[: _MAX_ID_LENGTH - len(digest) - 1]}~{digest}"
