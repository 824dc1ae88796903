"""What GATEWAY_AUTH needs of other settings, and which settings it leaves without effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.settings.auth import NO_AUDIT_LOG
from gateway.settings.types import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.schema import Settings


def open_address_problems(settings: Settings, *, decided: bool) -> Iterator[str]:
    """Yield a line if others can connect and it is not `decided` whether callers are asked who they are."""
    open_hosts = [host for host in settings.hosts if not is_loopback(host)]
    if open_hosts and not decided:
        yield (
            f"GATEWAY_AUTH: is not set, but GATEWAY_HOST is {', '.join(open_hosts)}, where others can "
            "connect: set it to keys, jwt, mtls or mlflow, so that they show who they are, or to none if a "
            "proxy asks them, or if all who can connect may do everything"
        )


def auth_problems(settings: Settings) -> Iterator[str]:
    """Yield a line for each other contradiction."""
    sources = settings.auth.sources
    if "jwt" in sources:
        needed = {"GATEWAY_JWT_ISSUER": settings.jwt.issuer, "GATEWAY_JWT_AUDIENCE": settings.jwt.audience}
        if missing := [name for name, value in needed.items() if not value]:
            yield f"{' and '.join(missing)} must be set, because GATEWAY_AUTH has jwt"
    elif settings.jwt.issuer:
        yield "GATEWAY_JWT_ISSUER: has no effect unless GATEWAY_AUTH has jwt"
    if "mtls" in sources and settings.tls.client == "none" and not settings.auth.trusted_proxies:
        yield (
            "GATEWAY_AUTH: has mtls, but no certificate of a client is seen: set GATEWAY_TLS_CLIENT to "
            "optional or required, or GATEWAY_TRUSTED_PROXIES to the proxies that ask for them"
        )
    if settings.auth.audit_invoke and settings.auth.audit_log == NO_AUDIT_LOG:
        yield "GATEWAY_AUDIT_INVOKE: has no effect unless GATEWAY_AUDIT_LOG is set"
    if settings.auth.mlflow_invoke == "use" and "mlflow" not in sources:
        yield "GATEWAY_MLFLOW_INVOKE: has no effect unless GATEWAY_AUTH has mlflow"
    if settings.auth.keys_file is not None and not {"keys", "jwt", "mtls"} & set(sources):
        yield "GATEWAY_API_KEYS_FILE: has no effect unless GATEWAY_AUTH has keys, jwt or mtls"
    yield from _misplaced_keys_file(settings)


def _misplaced_keys_file(settings: Settings) -> Iterator[str]:
    """Yield a line if models can read the file, or write it where there is no wall around them."""
    file = settings.auth.keys_file
    if file is None:
        return
    if file.resolve().is_relative_to(settings.cache_dir.resolve()):
        yield "GATEWAY_API_KEYS_FILE is in GATEWAY_CACHE_DIR, which has what others have made: move it"
    if any(file.resolve().is_relative_to(folder.resolve()) for folder in settings.worker_readable):
        yield "GATEWAY_API_KEYS_FILE is in a folder of GATEWAY_WORKER_READABLE, which models read: move it"
