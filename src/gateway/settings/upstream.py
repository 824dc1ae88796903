"""The settings for what the gateway depends on: the MLflow server and the S3 store."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field, SecretStr

from gateway.settings.types import ExpandedPath, PositiveSeconds, SettingsGroup


class MlflowSettings(SettingsGroup):
    """Where the MLflow server is and how to speak to it, under the names MLflow's own client reads."""

    tracking_uri: str = Field(
        "",
        alias="MLFLOW_TRACKING_URI",
        description="The MLflow server's address, http or https. `gateway serve` needs it.",
    )
    registry_uri: str = Field(
        "",
        alias="MLFLOW_REGISTRY_URI",
        description="The model registry's address where it is another server.",
    )
    workspace: str = Field(
        "", alias="MLFLOW_WORKSPACE", description="A server's workspace, where it has any."
    )
    username: str = Field(
        "", alias="MLFLOW_TRACKING_USERNAME", description="For basic authentication; wins over a token."
    )
    password: SecretStr = Field(
        SecretStr(""), alias="MLFLOW_TRACKING_PASSWORD", description="The password to that user name."
    )
    token: SecretStr = Field(SecretStr(""), alias="MLFLOW_TRACKING_TOKEN", description="A bearer token.")
    insecure_tls: bool = Field(
        default=False,
        alias="MLFLOW_TRACKING_INSECURE_TLS",
        description="true: do not check the server's certificate. For trials only.",
    )
    server_cert_path: ExpandedPath | None = Field(
        None,
        alias="MLFLOW_TRACKING_SERVER_CERT_PATH",
        description="A PEM file or folder of the authorities to trust.",
    )
    client_cert_path: ExpandedPath | None = Field(
        None,
        alias="MLFLOW_TRACKING_CLIENT_CERT_PATH",
        description="A PEM file with our own certificate and key.",
    )
    request_timeout: PositiveSeconds = Field(
        10, alias="MLFLOW_HTTP_REQUEST_TIMEOUT", description="Seconds that one call to MLflow may take."
    )


class S3Settings(SettingsGroup):
    """How to reach `s3://` artifacts; what is empty is left to the AWS default chain."""

    endpoint_url: str = Field(
        "",
        validation_alias=AliasChoices("MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        description="The S3 server's address where it is not AWS.",
    )
    ignore_tls: bool = Field(
        default=False,
        alias="MLFLOW_S3_IGNORE_TLS",
        description="true: do not check the S3 server's certificate. For trials only.",
    )
    bucket_owner: str = Field(
        "",
        alias="MLFLOW_S3_EXPECTED_BUCKET_OWNER",
        description="Refuse buckets that belong to another account.",
    )
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        "auto",
        alias="MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE",
        description="auto, path (…/bucket/key) or virtual (bucket.…/key).",
    )
    access_key_id: SecretStr = Field(
        SecretStr(""), alias="AWS_ACCESS_KEY_ID", description="The S3 access key's id."
    )
    secret_access_key: SecretStr = Field(
        SecretStr(""), alias="AWS_SECRET_ACCESS_KEY", description="The S3 access key's secret."
    )
    session_token: SecretStr = Field(
        SecretStr(""), alias="AWS_SESSION_TOKEN", description="The token of temporary S3 credentials."
    )
    region: str = Field(
        "", validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"), description="The S3 region."
    )
    ca_bundle: ExpandedPath | None = Field(
        None, alias="AWS_CA_BUNDLE", description="A PEM file of the authorities that S3 calls trust."
    )
