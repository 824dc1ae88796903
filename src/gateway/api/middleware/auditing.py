"""Which requests the audit log has, and what it says of them."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from gateway.auth.actions import Action
from gateway.auth.errors import AuthError
from gateway.serving.service import resolved_model
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from gateway.api.middleware.access_control import AccessCheck
    from gateway.auth.audit import AuditLog

_REFUSED: Final = frozenset({401, 403, 421, 429})
_BROWSER_REASONS: Final = {403: "origin", 421: "host"}  # of what was refused before access control
_MAX_TEXT: Final = 256

managed_version: Final[ContextVar[str | None]] = ContextVar("managed_version", default=None)
"""The version that the current request loads or unloads."""


class Auditor:
    """Writes refused requests, those that load or unload models, and predictions if they are wanted."""

    def __init__(self, log: AuditLog, address: Callable[[web.Request], str], *, invocations: bool) -> None:
        self._log = log
        self._address = address
        self._invocations = invocations

    def record(
        self,
        request: web.Request,
        check: AccessCheck,
        *,
        status: int,
        response: web.StreamResponse | None,
        seconds: float,
    ) -> None:
        """Write one request that was answered with `status`, if it is wanted."""
        action = check.access.action if check.access is not None else None
        refused = check.refusal is not None or status in _REFUSED
        wanted = refused or action is Action.MANAGE or (self._invocations and action is Action.INVOKE)
        if not wanted:
            return
        answered, resource = resolved_model.get(), request.match_info.route.resource
        self._log.write(
            {
                "request_id": logs.request_id.get(),
                "principal": _principal(check),
                "address": self._address(request),
                "method": request.method,
                "route": None if resource is None else resource.canonical,
                "action": None if action is None else action.value,
                "outcome": "refused" if refused else "done" if status < 400 else "failed",
                "reason": _BROWSER_REASONS.get(status) if check.refusal is None else check.refusal.outcome,
                "model": _text(request.match_info.get("name")),
                "version": _text(request.match_info.get("version")),
                "answered_by": managed_version.get() if answered is None else answered.version,
                "status": status,
                "bytes": _size(response),
                "ms": round(seconds * 1000, 1),
            }
        )


def _principal(check: AccessCheck) -> str:
    if isinstance(check.refusal, AuthError) and check.principal.source == "none":
        return f"{check.refusal.source}:unknown"
    return str(check.principal)


def _text(value: str | None) -> str | None:
    return None if value is None else value[:_MAX_TEXT]


def _size(response: web.StreamResponse | None) -> int | None:
    """Return the bytes of the body; of a response that is being sent, those so far."""
    if response is None:
        return None
    return response.body_length if response.prepared else response.content_length
