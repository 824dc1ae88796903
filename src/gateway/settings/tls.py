"""The settings of the gateway's own TLS."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from gateway.settings.types import ExpandedPath, SettingsGroup


class TlsSettings(SettingsGroup):
    """The gateway's certificate, and what it asks of its clients'."""

    cert_file: ExpandedPath | None = Field(
        None,
        alias="GATEWAY_TLS_CERT_FILE",
        description="PEM file of the gateway's certificate and those of its authorities between. If set, the "
        "gateway speaks HTTPS. It is read again at SIGHUP and within ten seconds of a change; connections "
        "stay.",
    )
    key_file: ExpandedPath | None = Field(
        None,
        validate_default=True,
        alias="GATEWAY_TLS_KEY_FILE",
        description="PEM file of its private key, without a password. No other user may read it, unless it "
        "belongs to root (mode 640) or is mounted read-only.",
    )
    client_ca_file: ExpandedPath | None = Field(
        None,
        alias="GATEWAY_TLS_CLIENT_CA_FILE",
        description="PEM file of the authorities that sign clients' certificates.",
    )
    client: Literal["none", "optional", "required"] = Field(
        "none",
        validate_default=True,
        alias="GATEWAY_TLS_CLIENT",
        description="Whether clients show a certificate. none: they are not asked; optional: one that is "
        "shown must be valid; required: no connection without.",
    )

    @field_validator("key_file")
    @classmethod
    def _check_key_file(cls, path: object, info: ValidationInfo) -> object:
        if (path is None) != (info.data.get("cert_file") is None):
            raise ValueError("must be set together with GATEWAY_TLS_CERT_FILE")
        return path

    @field_validator("client")
    @classmethod
    def _check_client(cls, client: str, info: ValidationInfo) -> str:
        if client != "none" and info.data.get("client_ca_file") is None:
            raise ValueError(f"is {client}, but GATEWAY_TLS_CLIENT_CA_FILE names no authorities")
        if client == "none" and info.data.get("client_ca_file") is not None:
            raise ValueError("is none, but GATEWAY_TLS_CLIENT_CA_FILE is set: optional or required?")
        if client != "none" and info.data.get("cert_file") is None:
            raise ValueError(f"is {client}, but GATEWAY_TLS_CERT_FILE is not set")
        return client
