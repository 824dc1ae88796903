"""What the demo says of callers: what it cannot know them by, and what the printed calls need."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from gateway.cli.access_file import require_access_file
from gateway.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings import Settings

_NO_USERS: Final = (
    "GATEWAY_AUTH: has mlflow, but the demo's own MLflow server has no users: "
    "leave it out, or use `gateway serve` with a server of yours"
)
_WAYS: Final = {
    "keys": '`-H "Authorization: Bearer $KEY"`, where KEY is a key of GATEWAY_API_KEYS_FILE',
    "jwt": '`-H "Authorization: Bearer $TOKEN"`, where TOKEN is one of GATEWAY_JWT_ISSUER',
    "mtls": "`--cert FILE --key FILE`, a certificate of the caller",
}


def check_callers(settings: Settings) -> None:
    """Raise SettingsError if the demo could answer no caller, before anything is started."""
    if "mlflow" in settings.auth.sources:
        raise SettingsError([_NO_USERS])
    require_access_file(settings.auth.keys_file)


def call_hints(settings: Settings) -> Iterator[str]:
    """Yield a line for each option that curl needs beside those of the printed calls."""
    ways = [way for source, way in _WAYS.items() if source in settings.auth.sources]
    if ways:
        kinds = ", ".join(settings.auth.sources)
        yield f"These calls get 401 as they are, because GATEWAY_AUTH is {kinds}: add {'; or '.join(ways)}"
    if settings.tls.cert_file is not None:
        file = shlex.quote(str(settings.tls.cert_file))
        yield (
            f"The gateway speaks HTTPS: add `--cacert FILE` with the authority of its certificate ({file} if "
            "that has signed itself), unless this machine trusts it"
        )
    if settings.tls.client == "required" and "mtls" not in settings.auth.sources:
        yield "GATEWAY_TLS_CLIENT is required: add `--cert FILE --key FILE`, a certificate of the caller"
