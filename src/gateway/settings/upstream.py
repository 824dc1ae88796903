"""The settings of the MLflow server and of the S3 store."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field, SecretStr

from gateway.settings.types import ExpandedPath, PositiveSeconds, SettingsGroup


class MlflowSettings(SettingsGroup):
    """How to reach the MLflow server, under the names that MLflow's own client reads."""

    tracking_uri: str = Field(
        "",
        alias="MLFLOW_TRACKING_URI",
        description="Address of the MLflow server, http or https. `gateway serve` needs it.",
    )
    registry_uri: str = Field(
        "",
        alias="MLFLOW_REGISTRY_URI",
        description="Address of the model registry, if it is another server.",
    )
    workspace: str = Field(
        "", alias="MLFLOW_WORKSPACE", description="Workspace of the MLflow server, if it has workspaces."
    )
    username: str = Field(
        "",
        alias="MLFLOW_TRACKING_USERNAME",
        description="User name for basic authentication. It wins over a token.",
    )
    password: SecretStr = Field(
        SecretStr(""), alias="MLFLOW_TRACKING_PASSWORD", description="Password of that user."
    )
    token: SecretStr = Field(SecretStr(""), alias="MLFLOW_TRACKING_TOKEN", description="Bearer token.")
    insecure_tls: bool = Field(
        default=False,
        alias="MLFLOW_TRACKING_INSECURE_TLS",
        description="true: do not verify the server's TLS certificate. For tests only.",
    )
    server_cert_path: ExpandedPath | None = Field(
        None,
        alias="MLFLOW_TRACKING_SERVER_CERT_PATH",
        description="PEM file or folder of the certificate authorities to trust.",
    )
    client_cert_path: ExpandedPath | None = Field(
        None,
        alias="MLFLOW_TRACKING_CLIENT_CERT_PATH",
        description="PEM file with the client certificate and its key.",
    )
    request_timeout: PositiveSeconds = Field(
        10,
        alias="MLFLOW_HTTP_REQUEST_TIMEOUT",
        description="Longest time for one call to MLflow, in seconds.",
    )
    http_proxy: SecretStr = Field(
        SecretStr(""),
        validation_alias=AliasChoices("HTTP_PROXY", "http_proxy"),
        description="HTTP proxy for an http address of the MLflow server.",
    )
    https_proxy: SecretStr = Field(
        SecretStr(""),
        validation_alias=AliasChoices("HTTPS_PROXY", "https_proxy"),
        description="HTTP proxy for an https address of the MLflow server.",
    )
    no_proxy: str = Field(
        "",
        validation_alias=AliasChoices("NO_PROXY", "no_proxy"),
        description="Hosts, domains and networks that need no proxy, comma-separated. Loopback never does.",
    )
    stored_credentials: SecretStr = SecretStr("")
    """The text of `~/.mlflow/credentials` when the gateway started."""


class S3Settings(SettingsGroup):
    """How to reach `s3:` artifacts; AWS' default credential chain decides what is empty."""

    endpoint_url: str = Field(
        "",
        validation_alias=AliasChoices("MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        description="Address of the S3 server, if it is not AWS.",
    )
    ignore_tls: bool = Field(
        default=False,
        alias="MLFLOW_S3_IGNORE_TLS",
        description="true: do not verify the S3 server's TLS certificate. For tests only.",
    )
    bucket_owner: str = Field(
        "",
        alias="MLFLOW_S3_EXPECTED_BUCKET_OWNER",
        description="AWS account that buckets must belong to; others are rejected.",
    )
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        "auto",
        alias="MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE",
        description="Form of S3 addresses: auto, path (…/bucket/key) or virtual (bucket.…/key).",
    )
    access_key_id: SecretStr = Field(
        SecretStr(""), alias="AWS_ACCESS_KEY_ID", description="Id of the S3 access key."
    )
    secret_access_key: SecretStr = Field(
        SecretStr(""), alias="AWS_SECRET_ACCESS_KEY", description="Secret of the S3 access key."
    )
    session_token: SecretStr = Field(
        SecretStr(""), alias="AWS_SESSION_TOKEN", description="Token of temporary S3 credentials."
    )
    region: str = Field(
        "", validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"), description="S3 region."
    )
    ca_bundle: ExpandedPath | None = Field(
        None, alias="AWS_CA_BUNDLE", description="PEM file of the certificate authorities to trust for S3."
    )
    config_file: ExpandedPath | None = Field(
        None,
        alias="AWS_CONFIG_FILE",
        description="AWS' configuration file, by default ~/.aws/config. It is read once, at the start.",
    )
    credentials_file: ExpandedPath | None = Field(
        None,
        alias="AWS_SHARED_CREDENTIALS_FILE",
        description="AWS' credentials file, by default ~/.aws/credentials. It is read once, at the start.",
    )
    profile: str = Field(
        "",
        validation_alias=AliasChoices("AWS_PROFILE", "AWS_DEFAULT_PROFILE"),
        description="Profile of these two files.",
    )
    config_text: SecretStr = SecretStr("")
    """The text of AWS' configuration file when the gateway started."""
    credentials_text: SecretStr = SecretStr("")
    """The text of AWS' credentials file when the gateway started."""
