"""TLS of a node's links, in the terms of its settings; the files are read again when they change."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gateway.server.tls import ServerTls
from gateway.server.tls_errors import CERT, CLIENT_CA, KEY, TlsError
from gateway.server.tls_files import load_tls_files
from gateway.settings import TlsSettings
from gateway.system.log_throttle import LogThrottle

if TYPE_CHECKING:
    from gateway.api.tls_connection import HandshakeFailure
    from gateway.server.tls_files import TlsFiles
    from gateway.settings.fleet import FleetSettings

logger = logging.getLogger(__name__)

_NAMES: Final = (  # of a node's settings
    (CLIENT_CA, "GATEWAY_FLEET_TLS_CA_FILE"),
    (CERT, "GATEWAY_FLEET_TLS_CERT_FILE"),
    (KEY, "GATEWAY_FLEET_TLS_KEY_FILE"),
)


def node_tls_settings(fleet: FleetSettings) -> TlsSettings:
    """Return what a node asks of TLS: gateways show a certificate if there are authorities for it."""
    return TlsSettings.model_construct(
        cert_file=fleet.tls_cert_file,
        key_file=fleet.tls_key_file,
        client_ca_file=fleet.tls_ca_file,
        client="none" if fleet.tls_ca_file is None else "required",
    )


def load_node_tls(settings: TlsSettings) -> TlsFiles:
    """Read and check the files of a node. Raise TlsError, which names its settings."""
    try:
        return load_tls_files(settings)
    except TlsError as error:
        text = str(error)
        for theirs, ours in _NAMES:
            text = text.replace(theirs, ours)
        raise TlsError(text) from error


def new_node_tls(files: TlsFiles) -> ServerTls:
    """Return a context for links, which gives each new connection the newest files."""
    throttle = LogThrottle()

    def log(reason: HandshakeFailure) -> None:
        suppressed = throttle.suppressed_if_due(reason)
        if suppressed is not None:
            text = "A TLS handshake with a gateway, or what is none, failed: %s; %d more since the last line"
            extra = {"event": "node_handshake_failed", "reason": reason, "suppressed": suppressed}
            logger.warning(text, reason, suppressed, extra=extra)

    tls = ServerTls(files)
    tls.on_failure = log
    return tls
