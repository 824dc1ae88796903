"""What is wrong with the files of the gateway's TLS."""

from __future__ import annotations

CERT, KEY, CLIENT_CA = "GATEWAY_TLS_CERT_FILE", "GATEWAY_TLS_KEY_FILE", "GATEWAY_TLS_CLIENT_CA_FILE"


class TlsError(Exception):
    """The files cannot be used; the text names the setting, what is wrong, and what would be right."""
