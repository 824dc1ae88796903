"""The settings of who may call the gateway, and how much."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from gateway.domain.limits import Limits, Rate, parse_rate
from gateway.settings.types import ExpandedPath, PositiveInt, SettingsGroup, expand, split_words

AuthSource = Literal["none", "keys", "jwt", "mtls", "mlflow"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NO_AUDIT_LOG: Final = "off"
STDERR: Final = "stderr"


def _check_sources(words: tuple[AuthSource, ...]) -> tuple[AuthSource, ...]:
    if "none" in words and len(words) > 1:
        others = ", ".join(word for word in words if word != "none")
        raise ValueError(f"has none and {others}: with none, callers are not asked; leave out one of them")
    return tuple(dict.fromkeys(words))


def _parse_networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    words = (word.strip() for word in value.split(","))
    return tuple(_parse_network(word) for word in words if word)


def _parse_network(word: str) -> Network:
    try:
        return ipaddress.ip_network(word)
    except ValueError as error:
        raise ValueError(f"{word!r} is not an address or a network such as 10.0.0.0/8") from error


def _parse_rate(value: object) -> object:
    return parse_rate(value) if isinstance(value, str) else value


def _check_audit_target(text: str) -> str:
    if text in {NO_AUDIT_LOG, STDERR}:
        return text
    path = expand(Path(text))
    if not path.is_absolute():
        raise ValueError(f"{text!r} is neither off, nor stderr, nor the absolute path of a file")
    return str(path)


AuditTarget = Annotated[str, AfterValidator(_check_audit_target)]
AuthSources = Annotated[tuple[AuthSource, ...], BeforeValidator(split_words), AfterValidator(_check_sources)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_parse_networks)]


class AuthSettings(SettingsGroup):
    """Who may call the gateway, how much each may ask for, and what is written down of it."""

    sources: AuthSources = Field(
        (),
        alias="GATEWAY_AUTH",
        description="How callers show who they are, comma-separated. none: not at all; keys: API keys of "
        "GATEWAY_API_KEYS_FILE; jwt: tokens of GATEWAY_JWT_ISSUER; mtls: certificates, or those that a "
        "trusted proxy names; mlflow: users of the MLflow server, with their rights there. It must be set "
        "unless the gateway listens on loopback alone, where the default is none.",
    )
    keys_file: ExpandedPath | None = Field(
        None,
        validate_default=True,
        alias="GATEWAY_API_KEYS_FILE",
        description="YAML file of API keys, roles, and what holders of tokens and certificates may do "
        "(docs/identity/keys.md explains every field). No other user may read or write it. It is read again "
        "when it changes.",
    )
    trusted_proxies: Networks = Field(
        (),
        alias="GATEWAY_TRUSTED_PROXIES",
        description="Proxies whose X-Forwarded-For and X-Forwarded-Client-Cert are believed: addresses and "
        "networks, comma-separated. They must remove these headers from what their own clients send.",
    )
    mlflow_invoke: Literal["read", "use"] = Field(
        "read",
        alias="GATEWAY_MLFLOW_INVOKE",
        description="With GATEWAY_AUTH=mlflow, the right in MLflow that allows predictions: read, or use "
        "(MLflow 3.17 and later).",
    )
    rate: Annotated[Rate | None, BeforeValidator(_parse_rate)] = Field(
        None,
        alias="GATEWAY_RATE",
        description="Most requests of one principal in a time, as in 50/s, 600/min or 1000/h, evenly spread "
        "and counted over all gateway processes; further ones are answered with 429. Where callers are not "
        "asked who they are, each address is one. Keys may have their own. Empty: no limit.",
    )
    burst: PositiveInt | None = Field(
        None,
        alias="GATEWAY_BURST",
        description="Most requests of one principal that may come at once before GATEWAY_RATE counts. "
        "Default: those of one second.",
    )
    concurrent: PositiveInt | None = Field(
        None,
        alias="GATEWAY_CONCURRENT",
        description="Most requests of one principal in progress at once, in each gateway process; further "
        "ones are answered with 429. Empty: half of GATEWAY_MAX_QUEUE, or no limit where callers are not "
        "asked who they are.",
    )
    audit_log: AuditTarget = Field(
        NO_AUDIT_LOG,
        alias="GATEWAY_AUDIT_LOG",
        description="Where a JSON line is written for each refused request, and for each that loads or "
        "unloads a model: off, stderr, or the path of a file that is appended to.",
    )
    audit_invoke: bool = Field(
        default=False,
        alias="GATEWAY_AUDIT_INVOKE",
        description="true: predictions are written to the audit log too.",
    )

    @property
    def limits(self) -> Limits:
        """The limits of a principal that has none of its own."""
        return Limits(rate=self.rate, burst=self.burst, concurrent=self.concurrent)

    @field_validator("burst")
    @classmethod
    def _check_burst(cls, burst: int | None, info: ValidationInfo) -> int | None:
        if burst is not None and info.data.get("rate") is None:
            raise ValueError("has no effect without GATEWAY_RATE")
        return burst

    @field_validator("keys_file")
    @classmethod
    def _check_keys_file(cls, path: object, info: ValidationInfo) -> object:
        if path is None and "keys" in info.data.get("sources", ()):
            raise ValueError("must name a file, because GATEWAY_AUTH has keys")
        return path
