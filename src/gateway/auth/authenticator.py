"""Finds out who is calling, by the kinds of credentials that the operator has chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from gateway.auth.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.auth.credentials import Credential
    from gateway.auth.principal import Principal

_JWT_DOTS: Final = 2
_MISSING: Final = "This request needs credentials: {ways}."


class KeySource(Protocol):
    """Knows API keys."""

    def recognise(self, credential: Credential) -> Principal:
        """Return the key's principal; raise Unauthenticated."""
        ...


class TokenSource(Protocol):
    """Knows tokens, some of them at once."""

    def recognise(self, credential: Credential) -> Principal | None:
        """Return the principal of a token that was seen before, or None."""
        ...

    async def verify(self, credential: Credential) -> Principal:
        """Return the token's principal; raise Unauthenticated or AuthUnavailable."""
        ...


class CertificateSource(Protocol):
    """Knows the names in certificates."""

    def recognise(self, names: Sequence[str]) -> Principal | None:
        """Return the principal that a certificate with these names belongs to; None if it has none."""
        ...


class UserSource(Protocol):
    """Knows users and their passwords, some of them at once."""

    def recognise(self, credential: Credential, address: str) -> Principal | None:
        """Return the principal of credentials that were right a moment ago, or None."""
        ...

    async def verify(self, credential: Credential, address: str) -> Principal:
        """Return the principal; raise Unauthenticated, LimitExceeded or AuthUnavailable.

        `address` is the client's, for which failures are counted.
        """
        ...


class Caller(Protocol):
    """What a request shows of its caller."""

    @property
    def credential(self) -> Credential | None:
        """The credential in its headers, if any."""
        ...

    def certificate_names(self) -> Sequence[str]:
        """Return the names in the certificate that it came with."""
        ...

    def address(self) -> str:
        """Return the address that it came from."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticator:
    """The kinds of credentials that are accepted. Those in headers count before a certificate."""

    keys: KeySource | None = None
    jwt: TokenSource | None = None
    mtls: CertificateSource | None = None
    mlflow: UserSource | None = None

    @property
    def challenges(self) -> tuple[str, ...]:
        """The values of `WWW-Authenticate`, of which the client may choose."""
        found = ['Bearer realm="gateway"'] if self.keys or self.jwt else []
        if self.mlflow:
            found += ['Basic realm="mlflow", charset="UTF-8"', *(() if found else ('Bearer realm="mlflow"',))]
        return tuple(found or ['ClientCertificate realm="gateway"'])  # no scheme is registered for that

    def recognise(self, caller: Caller) -> Principal | None:
        """Return the caller if that is known at once, None if `verify` must find out.

        Raise Unauthenticated.
        """
        credential = caller.credential
        if credential is None:
            return self._by_certificate(caller)
        if credential.kind == "key" and self.keys is not None:
            return self.keys.recognise(credential)
        if self._is_token(credential) and self.jwt is not None:
            return self.jwt.recognise(credential)
        if credential.kind != "key" and self.mlflow is not None:
            return self.mlflow.recognise(credential, caller.address())
        raise Unauthenticated("Credentials of this kind are not accepted here.")

    async def verify(self, caller: Caller) -> Principal:
        """Return the caller; raise Unauthenticated, LimitExceeded or AuthUnavailable."""
        credential = caller.credential
        if credential is not None and self._is_token(credential) and self.jwt is not None:
            return await self.jwt.verify(credential)
        if credential is not None and credential.kind != "key" and self.mlflow is not None:
            return await self.mlflow.verify(credential, caller.address())
        raise Unauthenticated("Credentials of this kind are not accepted here.")

    def _is_token(self, credential: Credential) -> bool:
        """Return whether the provider's tokens look like this; MLflow's may be of any form."""
        if credential.kind != "bearer":
            return False
        return self.mlflow is None or credential.secret.count(".") == _JWT_DOTS

    def _by_certificate(self, caller: Caller) -> Principal:
        if self.mtls is not None:
            found = self.mtls.recognise(caller.certificate_names())
            if found is not None:
                return found
        raise Unauthenticated(_MISSING.format(ways=" or ".join(self._ways())))

    def _ways(self) -> list[str]:
        ways = []
        if self.keys is not None:
            ways.append("an API key in `Authorization: Bearer` or `X-API-Key`")
        if self.jwt is not None:
            ways.append("a token in `Authorization: Bearer`")
        if self.mlflow is not None:
            ways.append("a user of the MLflow server in `Authorization: Basic`, or its token in `Bearer`")
        if self.mtls is not None:
            ways.append("a client certificate with a name")
        return ways
