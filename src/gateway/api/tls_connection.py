"""The TLS of one client connection, which counts what is sent and says why a handshake failed."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final, Literal

from workers.metrics import CounterSpec

if TYPE_CHECKING:
    from collections.abc import Callable

HandshakeFailure = Literal["certificate", "plain_http", "protocol"]

TLS_HANDSHAKES_FAILED: Final = CounterSpec(
    "tls_handshakes_failed",
    "TLS handshakes that failed: certificate (the client has none, or one that is not accepted), plain_http"
    " (the client did not use TLS), or protocol (version, ciphers, or no TLS at all). Clients that disconnect"
    " or stay silent are not counted.",
    ("reason",),
)

_PLAIN_HTTP_TEXT: Final = b"This port speaks HTTPS only.\n"
_PLAIN_HTTP_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_PLAIN_HTTP_TEXT), _PLAIN_HTTP_TEXT)
)
_CERTIFICATE_REASONS: Final = frozenset({"CERTIFICATE_VERIFY_FAILED", "PEER_DID_NOT_RETURN_A_CERTIFICATE"})


class TlsConnection(ssl.SSLObject):
    """The TLS of one connection. Made by a context whose `sslobject_class` it is, then given `attach`."""

    sent_bytes = 0
    """The encrypted bytes so far."""
    settled_bytes = 0
    """Its value when the client's system had last received all of them (`gateway.api.unsent`)."""
    established = False
    """Whether the handshake is complete."""
    _failure: ssl.SSLError | None = None
    _outgoing: ssl.MemoryBIO
    _on_failure: Callable[[HandshakeFailure], None]

    def attach(self, outgoing: ssl.MemoryBIO, on_failure: Callable[[HandshakeFailure], None]) -> None:
        """Set where encrypted bytes are put, and what is called once if the handshake fails."""
        self._outgoing = outgoing
        self._on_failure = on_failure

    def do_handshake(self) -> None:
        """Go on with the handshake; raise SSLError if it fails.

        The event loops drop the alert that tells the client why. So the first failure looks like a wait for
        the client, whereupon they send it. The client's reply, its end, or the time limit ends the
        connection.
        """
        if self._failure is not None:
            raise self._failure
        before = self._outgoing.pending
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self._failure = error
            self._on_failure(reason := _failure_reason(error))
            if reason == "plain_http":
                self._outgoing.read()
                self._outgoing.write(_PLAIN_HTTP_ANSWER)
            if self._outgoing.pending:
                raise ssl.SSLWantReadError from error
            raise
        else:
            self.established = True
        finally:
            self.sent_bytes += self._outgoing.pending - before

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - the base class has this name
        """Read what the client sent, as the base class does; TLS itself may answer some of it."""
        before = self._outgoing.pending
        try:
            return super().read(len, buffer)
        finally:
            self.sent_bytes += self._outgoing.pending - before

    def write(self, data: bytes) -> int:  # type: ignore[override]  # any buffer, as in the base class
        """Encrypt bytes; return how many were taken."""
        before = self._outgoing.pending
        try:
            return super().write(data)
        finally:
            self.sent_bytes += self._outgoing.pending - before

    def unwrap(self) -> None:
        """Tell the client that nothing follows, and do not wait for it to say the same (RFC 8446, 6.1).

        A client that does not answer would hold a descriptor, and the end of the gateway. One that still
        sends would have its response cut. If earlier bytes are not sent yet, the event loop must wait.
        """
        before = self._outgoing.pending
        try:
            super().unwrap()
        except ssl.SSLError:
            if before or not self._outgoing.pending:
                raise
        finally:
            self.sent_bytes += self._outgoing.pending - before


def _failure_reason(error: ssl.SSLError) -> HandshakeFailure:
    reason = error.reason or ""
    if reason in _CERTIFICATE_REASONS:
        return "certificate"
    return "plain_http" if reason in {"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"} else "protocol"
