"""The settings of JSON Web Tokens."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from gateway.settings.types import CommaSeparated, NonNegativeSeconds, SettingsGroup, is_loopback

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Signatures with a private key. A secret that both sides know cannot be fetched from a public address."""


def _check_algorithms(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words:
        raise ValueError("names no algorithm")
    for word in words:
        if word not in ALGORITHMS:
            raise ValueError(f"{word!r} is none of {', '.join(ALGORITHMS)}")
    return words


def check_https(url: str) -> str:
    """Return an https address, one by http on loopback, or an empty text; raise ValueError for others."""
    parts = urlsplit(url)
    if parts.username is not None:
        raise ValueError("is an address with a user name")
    loopback = is_loopback(parts.hostname or "")
    if url and (
        (parts.scheme != "https" and not (parts.scheme == "http" and loopback)) or not parts.hostname
    ):
        raise ValueError(f"{url!r} is not an https address (http is allowed for this machine alone)")
    return url


def _check_issuer(url: str) -> str:
    if "?" in url or "#" in url:
        raise ValueError("is an address with `?` or `#`")
    return check_https(url)


Algorithms = Annotated[CommaSeparated, AfterValidator(_check_algorithms)]
HttpsUrl = Annotated[str, AfterValidator(check_https)]
IssuerUrl = Annotated[str, AfterValidator(_check_issuer)]


class JwtSettings(SettingsGroup):
    """Whose tokens are accepted, and what of them names the caller."""

    issuer: IssuerUrl = Field(
        "",
        alias="GATEWAY_JWT_ISSUER",
        description="Address of the OpenID provider, as the tokens' iss has it. Its keys are found by its "
        "/.well-known/openid-configuration, unless GATEWAY_JWT_JWKS_URL is set.",
    )
    audience: CommaSeparated = Field(
        (),
        alias="GATEWAY_JWT_AUDIENCE",
        description="What the tokens' aud must have, comma-separated if there are several; one is enough.",
    )
    jwks_url: HttpsUrl = Field(
        "",
        alias="GATEWAY_JWT_JWKS_URL",
        description="Address of the provider's public keys (JWKS), if they are not to be discovered.",
    )
    algorithms: Algorithms = Field(
        ("RS256", "ES256"),
        alias="GATEWAY_JWT_ALGORITHMS",
        description="Signatures that are accepted, comma-separated: RS256, RS384, RS512, PS256, PS384, "
        "PS512, ES256, ES384, ES512, EdDSA.",
    )
    principal_claim: str = Field(
        "sub",
        alias="GATEWAY_JWT_PRINCIPAL_CLAIM",
        description="Claim that names the caller. azp or client_id for services of some providers.",
    )
    groups_claim: str = Field(
        "groups",
        alias="GATEWAY_JWT_GROUPS_CLAIM",
        description="Claim with the caller's groups: a list, or words in one text. Dots lead into objects: "
        "realm_access.roles.",
    )
    leeway_seconds: NonNegativeSeconds = Field(
        30,
        alias="GATEWAY_JWT_LEEWAY_SECONDS",
        description="How far the clocks of the provider and of the gateway may differ, in seconds.",
    )

    @field_validator("audience", "jwks_url")
    @classmethod
    def _check_issuer(cls, value: object, info: ValidationInfo) -> object:
        if value and info.data.get("issuer") == "":  # without it if that is wrong itself
            raise ValueError("has no effect without GATEWAY_JWT_ISSUER")
        return value
