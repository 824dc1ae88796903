"""The node's end of links over gRPC: two calls each, so that no small message waits for a large one."""

from __future__ import annotations

import asyncio
import hmac
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc import aio

from gateway.engines.transports.grpc_lanes import ServerLane, ServerLink
from gateway.engines.wire import protocol
from gateway.engines.wire.messages import MAX_CONTROL_BYTES, MAX_OVERHEAD_BYTES
from gateway.system.log_throttle import LogThrottle

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.engines.transports.protocol import Receiver, Transport

    Accept = Callable[[Transport], Receiver]

logger = logging.getLogger(__name__)

_MAX_LINK_ID: Final = 64
_MAX_CALLS: Final = 1000  # links of a hundred gateways with four processes, and their other lanes
_PAIRING_SECONDS: Final = 10.0
_KEEPALIVE_MS: Final = 10_000
_KEEPALIVE_TIMEOUT_MS: Final = 5_000
_LEAST_PING_MS: Final = 1_000
_IDLE_MS: Final = 10_000  # of a connection without a call, which a link always has
_HANDSHAKE_MS: Final = 5_000


class AddressInUse(OSError):
    """The node cannot listen on its address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcOptions:
    """How a node listens. Gateways show `token`, if it is not empty.

    `certificates` returns what TLS needs; it is called before each handshake, from any thread, and may raise
    CertificatesUnusable. None: no TLS. No message may be larger than a body of `max_body_bytes`, and what a
    message has beside it.
    """

    host: str
    port: int
    token: bytes = b""
    certificates: Callable[[], Certificates] | None = None
    max_body_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """A node's certificate and key as PEM, and the authorities of gateways, empty if they need none."""

    certificate: bytes
    key: bytes
    authorities: bytes = b""


class CertificatesUnusable(OSError):
    """The files of the certificates cannot be used; the text says why."""


class _Refused(Exception):
    """A call that is no lane of a link; the text is for the gateway."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class GrpcServer:
    """A server that accepts links from gateways that show the token, or a certificate."""

    def __init__(self, accept: Accept, options: GrpcOptions) -> None:
        """`accept` returns the receiver of a new link."""
        self._accept = accept
        self._options = options
        self._links: dict[str, ServerLink] = {}
        self._server: aio.Server | None = None
        self._log_throttle = LogThrottle()

    async def open(self) -> str:
        """Listen, and return the address. Raise AddressInUse or CertificatesUnusable."""
        options = self._options
        largest = max(options.max_body_bytes, MAX_CONTROL_BYTES) + MAX_OVERHEAD_BYTES
        self._server = aio.server(
            options=[
                ("grpc.max_receive_message_length", largest),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", _MAX_CALLS),
                ("grpc.so_reuseport", 0),
                ("grpc.max_connection_idle_ms", _IDLE_MS),
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
                ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_MS),
                ("grpc.http2.max_ping_strikes", 0),
            ]
        )
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        methods = grpc.method_handlers_generic_handler(protocol.SERVICE, {protocol.METHOD: handler})
        self._server.add_generic_rpc_handlers((methods,))
        host = f"[{options.host}]" if ":" in options.host else options.host
        port = self._listen(f"{host}:{options.port}")
        await self._server.start()
        return f"{host}:{port}"

    async def close(self) -> None:
        """Accept no more links, and end those that are open."""
        if self._server is not None:
            for link in list(self._links.values()):
                link.close()
            await self._server.stop(grace=1.0)

    def _listen(self, address: str) -> int:
        if self._server is None:
            raise RuntimeError("there is no server yet")
        try:
            if self._options.certificates is None:
                return int(self._server.add_insecure_port(address))
            return int(self._server.add_secure_port(address, _credentials(self._options.certificates)))
        except RuntimeError as error:
            raise AddressInUse(f"{address}: something else listens there, or it is no address") from error

    async def _serve(self, _: object, context: aio.ServicerContext[bytes, bytes]) -> None:
        """Serve one lane until its link ends."""
        try:
            lane = self._admit(context)
        except _Refused as error:
            self._log_refusal(context.peer(), error)
            await context.abort(error.code, str(error))
            return
        try:
            await lane.run(context)
        except Exception:
            logger.exception("A link failed", extra={"event": "node_link_failed"})
        finally:
            lane.link.close("a lane has ended")

    def _log_refusal(self, peer: str, error: _Refused) -> None:
        """Log one refusal of a kind in a while: a caller without the token may try as often as it likes."""
        host = peer.rpartition(":")[0]
        suppressed = self._log_throttle.suppressed_if_due((error.code, host))
        if suppressed is None:
            return
        fields: dict[str, object] = {"event": "node_link_refused", "peer": peer, "reason": str(error)}
        if suppressed:
            fields["suppressed"] = suppressed
        logger.warning("Refused a link of %s: %s", peer, error, extra=fields)

    def _admit(self, context: aio.ServicerContext[bytes, bytes]) -> ServerLane:
        """Return the lane that a call is. Raise _Refused if the caller may not have it."""
        metadata = {str(key): value for key, value in context.invocation_metadata() or ()}
        self._check_token(metadata)
        theirs = _text(metadata, protocol.PROTOCOL_KEY)
        if protocol.choose(theirs) is None:
            raise _Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"This node speaks the protocols {protocol.spoken()}, and this gateway {theirs or 'none'}: "
                "update the older one.",
            )
        link_id, name = _text(metadata, protocol.LINK_KEY), _text(metadata, protocol.LANE_KEY)
        if not 0 < len(link_id) <= _MAX_LINK_ID or name not in {protocol.SMALL_LANE, protocol.LARGE_LANE}:
            raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, "The call names no link, or no lane of it.")
        link = self._links.get(link_id) or self._create(link_id)
        lane = link.small if name == protocol.SMALL_LANE else link.large
        if lane.taken:
            raise _Refused(grpc.StatusCode.ALREADY_EXISTS, "The link has this lane already.")
        lane.taken = True
        return lane

    def _check_token(self, metadata: dict[str, Any]) -> None:
        expected = b"Bearer " + self._options.token
        shown = _text(metadata, protocol.AUTHORIZATION_KEY).encode()
        if self._options.token and not hmac.compare_digest(shown, expected):
            raise _Refused(
                grpc.StatusCode.UNAUTHENTICATED,
                "This node wants the token of its fleet: GATEWAY_FLEET_TOKEN differs, or is not set.",
            )

    def _create(self, link_id: str) -> ServerLink:
        link = self._links[link_id] = ServerLink(self._accept, on_end=lambda: self._forget(link_id))
        asyncio.get_running_loop().call_later(_PAIRING_SECONDS, link.close_if_incomplete)
        return link

    def _forget(self, link_id: str) -> None:
        self._links.pop(link_id, None)


def _credentials(read: Callable[[], Certificates]) -> grpc.ServerCredentials:
    """Return credentials that follow the files: each handshake has the certificates of its time."""
    known = read()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal known
        try:
            found = read()
        except CertificatesUnusable as error:
            extra = {"event": "tls_reload_failed"}
            logger.error("The node's certificates cannot be read again: %s", error, extra=extra)
            return None
        if found == known:
            return None
        known = found
        logger.info("The node's certificates are read again", extra={"event": "tls_reloaded"})
        return _configuration(found)

    require = bool(known.authorities)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(known), fetch, require_client_authentication=require
    )


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pair = (certificates.key, certificates.certificate)
    return grpc.ssl_server_certificate_configuration([pair], certificates.authorities or None)


def _text(metadata: dict[str, Any], key: str) -> str:
    value = metadata.get(key, "")
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode()
        return ""
    return str(value)
