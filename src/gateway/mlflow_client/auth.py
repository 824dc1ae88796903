"""The MLflow server's address, the gateway's credentials for it and TLS, by the rules of MLflow's client."""

from __future__ import annotations

import configparser
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yarl import URL

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import MlflowSettings


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name with a password, or a token; both may be empty."""

    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def headers(self) -> dict[str, str]:
        """Return the Authorization header; a user name with a password takes precedence over a token."""
        if self.username and self.password:
            pair = b64encode(f"{self.username}:{self.password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def load_credentials(settings: MlflowSettings, *, url: URL) -> Credentials:
    """Return the credentials from the settings, else from MLflow's credentials file, else from the URL.

    Raise ValueError if the file cannot be parsed.
    """
    stored = _parse_credentials_file(settings.stored_credentials.get_secret_value())
    return Credentials(
        username=settings.username or stored.get("mlflow_tracking_username", "") or url.user or "",
        password=settings.password.get_secret_value()
        or stored.get("mlflow_tracking_password", "")
        or url.password
        or "",
        token=settings.token.get_secret_value() or stored.get("mlflow_tracking_token", ""),
    )


def _parse_credentials_file(text: str) -> dict[str, str]:
    """Return the section `[mlflow]` of an INI file."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        # The parser's own message contains lines of the file, perhaps with secrets.
        raise ValueError(
            "~/.mlflow/credentials cannot be read: it must be an INI file with a section [mlflow]."
        ) from error
    return dict(parser["mlflow"]) if parser.has_section("mlflow") else {}


def create_ssl_context(settings: MlflowSettings) -> ssl.SSLContext:
    """Return the TLS context with the trusted certificates and, if set, the client certificate.

    Raise ValueError, naming the setting, if a file cannot be used.
    """
    context = _default_ssl_context(settings.server_cert_path)
    if settings.insecure_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.client_cert_path is not None:
        try:
            context.load_cert_chain(settings.client_cert_path)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(
                "MLFLOW_TRACKING_CLIENT_CERT_PATH must name a PEM file with a certificate and its key."
            ) from error
    return context


def _default_ssl_context(authority: Path | None) -> ssl.SSLContext:
    if authority is None:
        return ssl.create_default_context()
    try:
        if authority.is_dir():
            return ssl.create_default_context(capath=str(authority))
        return ssl.create_default_context(cafile=str(authority))
    except (OSError, ssl.SSLError) as error:
        raise ValueError(
            "MLFLOW_TRACKING_SERVER_CERT_PATH must name a PEM file of certificates to trust."
        ) from error


_HINT = (
    "Start `mlflow server --backend-store-uri sqlite:///mlflow.db --port 5000` with your store "
    "and set {name} to its address, for example http://127.0.0.1:5000."
)


def parse_tracking_url(text: str, *, name: str = "MLFLOW_TRACKING_URI") -> URL:
    """Return the URL of an MLflow server, including its path prefix.

    Raise ValueError, with the command to run and the setting, if `text` is not an http(s) URL. The
    message never contains the URL's user name and password.
    """
    hint = _HINT.format(name=name)
    if not text.strip():
        raise ValueError(f"{name} is not set. {hint}")
    try:
        url = URL(text.strip())
    except ValueError as error:
        raise ValueError(f"{name} is not an address. {hint}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"{name} must be an http or https address of an MLflow server. {hint}")
    if url.query_string or url.fragment:
        raise ValueError(f"{name} must not contain `?` or `#`.")
    return url
