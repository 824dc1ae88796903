"""Verifies a token: its form, its header, its signature and its claims."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jwt

from gateway.auth.jwt.claims import Claims, check_times, read_groups, read_subject
from gateway.auth.jwt.key_set import MAX_KID_LENGTH
from gateway.auth.jwt.refusal import Reason, refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.auth.jwt.key_set import SigningKey
    from gateway.settings.jwt import JwtSettings

# Three parts without padding: not the five of an encrypted token, nor the empty signature of `none`.
_FORM: Final = re.compile(r"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TYPES: Final = {"jwt", "at+jwt"}  # not logout+jwt and others, which the issuer signs for other uses
_REFUSED_HEADERS: Final = ("crit", "b64", "cty", "enc", "zip")
_REASONS: Final[tuple[tuple[type[jwt.PyJWTError], Reason], ...]] = (
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "not yet valid"),
    (jwt.InvalidAudienceError, "wrong audience"),
    (jwt.InvalidIssuerError, "wrong issuer"),
    (jwt.InvalidSignatureError, "bad signature"),
    (jwt.InvalidAlgorithmError, "algorithm not accepted"),
)


@dataclass(frozen=True, slots=True)
class TokenHeader:
    """What an unverified header says of its signature."""

    algorithm: str
    kid: str | None


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """Whom a token names, until when (seconds since 1970, with leeway), and the key that signed it."""

    subject: str
    groups: tuple[str, ...]
    expires_at: float
    key: SigningKey


class _StrictJwt(jwt.PyJWT):
    """A decoder that refuses claims that parsers read differently: repeated members, and NaN."""

    def _decode_payload(self, decoded: dict[str, Any]) -> Claims:
        try:
            return _parse_strictly(decoded["payload"])
        except (ValueError, RecursionError) as error:
            raise jwt.DecodeError("The claims are not a JSON object") from error


class TokenVerifier:
    """A verifier of one issuer's tokens. `verify` may run in a thread."""

    def __init__(self, settings: JwtSettings) -> None:
        self._settings = settings
        self._decoder = _StrictJwt(
            {
                "require": ["exp", "iss", "aud", settings.principal_claim],
                "enforce_minimum_key_length": True,
            }
        )

    def read_header(self, token: str) -> TokenHeader:
        """Return what the header says; raise Unauthenticated if such a token is never accepted.

        Nothing that leads to other keys is read: `jku`, `jwk`, `x5u`, `x5c`.
        """
        form = _FORM.fullmatch(token)
        if form is None:
            raise refusal("malformed")
        try:
            header = _parse_strictly(base64.urlsafe_b64decode(form[1] + "=" * (-len(form[1]) % 4)))
        except (ValueError, RecursionError) as error:
            raise refusal("malformed") from error
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._settings.algorithms:
            raise refusal("algorithm not accepted")
        if not _is_kid(kid) or not _is_plain(header):
            raise refusal("malformed")
        return TokenHeader(algorithm, kid)

    def verify(self, token: str, key: SigningKey) -> VerifiedToken:
        """Return whom the token names; raise Unauthenticated if its signature or a claim is wrong."""
        settings = self._settings
        try:
            claims = self._decoder.decode(
                token,
                key.public,
                algorithms=list(key.algorithms),
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_seconds,
            )
        except jwt.PyJWTError as error:
            raise refusal(_reason(error)) from error
        check_times(claims)
        return VerifiedToken(
            subject=read_subject(claims, settings.principal_claim),
            groups=read_groups(claims, settings.groups_claim),
            expires_at=claims["exp"] + settings.leeway_seconds,
            key=key,
        )


def _reason(error: jwt.PyJWTError) -> Reason:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return {"aud": "wrong audience", "iss": "wrong issuer"}.get(error.claim, "unusable claims")  # type: ignore[return-value]
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "malformed")


def _is_kid(kid: object) -> bool:
    return kid is None or (isinstance(kid, str) and 0 < len(kid) <= MAX_KID_LENGTH)


def _is_plain(header: Claims) -> bool:
    """Return whether the header asks for nothing more, and says that the token is one for access."""
    kind = header.get("typ", "JWT")
    return (
        isinstance(kind, str)
        and kind.lower().removeprefix("application/") in _TYPES
        and not any(name in header for name in _REFUSED_HEADERS)
    )


def _parse_strictly(data: bytes) -> Claims:
    parsed = json.loads(data, object_pairs_hook=_refuse_repeated, parse_constant=_refuse_constant)
    if not isinstance(parsed, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - like all that is wrong with the text
    return parsed


def _refuse_repeated(pairs: Iterable[tuple[str, Any]]) -> Claims:
    pairs = list(pairs)
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is repeated")
    return members


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
