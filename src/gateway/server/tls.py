"""TLS of the listening sockets, with files that change while the gateway runs."""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakKeyDictionary

from aiohttp import web

from gateway.api.tls_connection import TlsConnection
from gateway.concurrency.threads import in_thread
from gateway.server.tls_errors import TlsError
from gateway.server.tls_files import EXPIRY_WARNING_DAYS, TlsFiles, file_stamps, load_tls_files

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gateway.api.inflight import InFlightRequests
    from gateway.api.tls_connection import HandshakeFailure
    from gateway.settings import TlsSettings

logger = logging.getLogger(__name__)

_HANDSHAKE_SECONDS: Final = 10.0
_FULL_SECONDS: Final = 0.1  # between two counts, each of which takes milliseconds
_POLL_SECONDS: Final = 5.0
_WARN_EVERY_SECONDS: Final = 24 * 3600.0


class ServerTls(ssl.SSLContext):
    """A context that gives each new connection the newest files. A connection keeps those it began with.

    A context itself cannot forget an authority, so it is not changed; `use` puts another in its place.
    """

    files: TlsFiles
    on_failure: Callable[[HandshakeFailure], None]
    max_handshakes: Callable[[], int]

    def __new__(cls, files: TlsFiles) -> Self:
        """Return an empty context; the one of `files` is used."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, files: TlsFiles) -> None:
        self.files = files
        self.on_failure = lambda _: None
        self.max_handshakes = lambda: sys.maxsize
        self._full_until = 0.0
        self._handshakes: WeakKeyDictionary[TlsConnection, float] = WeakKeyDictionary()

    def report(self) -> None:
        """Log what clients will see."""
        extra = {"event": "tls", "names": self.files.names, "expires": self.files.expires.isoformat()}
        logger.info("TLS: %s", self.files, extra=extra)

    def use(self, files: TlsFiles) -> frozenset[bytes]:
        """Use other files for new connections; return the authorities that are trusted no more."""
        before, self.files = self.files, files
        return before.authorities - files.authorities

    def is_outdated(self, connection: ssl.SSLObject) -> bool:
        """Return whether a connection was made before the files changed, and its client has a certificate."""
        return connection.context is not self.files.context and bool(connection.getpeercert())

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> Any:
        """Return the TLS of a new connection; raise ConnectionAbortedError if too many do not get on.

        A connection is not seen by what closes idle ones until its handshake is complete.
        """
        now, most = monotonic(), self.max_handshakes()
        if now < self._full_until:
            raise ConnectionAbortedError
        if len(self._handshakes) >= most and self._count_handshakes() >= most:
            self._full_until = now + _FULL_SECONDS
            raise ConnectionAbortedError
        connection = self.files.context.wrap_bio(incoming, outgoing, *args, **kwargs)
        assert isinstance(connection, TlsConnection)  # noqa: S101 - by the context's sslobject_class
        connection.attach(outgoing, self.on_failure)
        self._handshakes[connection] = now
        return connection

    def _count_handshakes(self) -> int:
        """Forget the handshakes that are complete or given up, and return the number of the others."""
        oldest = monotonic() - _HANDSHAKE_SECONDS
        for connection, started in list(self._handshakes.items()):
            if connection.established or started < oldest:
                del self._handshakes[connection]
        return len(self._handshakes)


class TlsSite(web.SockSite):
    """A site that gives clients less time for a handshake than aiohttp's own.

    A client that is closed has `closing_seconds` to read what is left of its response.
    """

    __slots__ = ("_closing_seconds", "_handshake_seconds", "_listener", "_tls")

    def __init__(
        self,
        runner: web.AppRunner,
        listener: socket.socket,
        *,
        tls: ServerTls,
        backlog: int,
        closing_seconds: float,
        handshake_seconds: float = _HANDSHAKE_SECONDS,
    ) -> None:
        super().__init__(runner, listener, ssl_context=tls, backlog=backlog)
        self._listener, self._tls = listener, tls
        self._closing_seconds, self._handshake_seconds = closing_seconds, handshake_seconds

    async def start(self) -> None:
        """Accept connections."""
        await web.BaseSite.start(self)
        assert self._runner.server is not None  # noqa: S101 - the base class has checked it
        self._server = await asyncio.get_running_loop().create_server(
            self._runner.server,
            sock=self._listener,
            ssl=self._tls,
            backlog=self._backlog,
            ssl_handshake_timeout=self._handshake_seconds,
            ssl_shutdown_timeout=self._closing_seconds,
        )


class TlsReloader:
    """A reader that puts changed files in force, unless they cannot be used.

    The files are looked at every few seconds. A change counts once it is seen twice: a certificate and its
    key are rarely written at once. At `request` it counts immediately.
    """

    def __init__(
        self,
        settings: TlsSettings,
        tls: ServerTls,
        *,
        on_authorities_removed: Callable[[], None],
        load: Callable[[TlsSettings], TlsFiles] = load_tls_files,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        """`on_authorities_removed` is called after a change that trusts fewer authorities than before.

        `load` reads the files, or raises TlsError.
        """
        self._settings = settings
        self._load = load
        self._tls = tls
        self._on_authorities_removed = on_authorities_removed
        self._poll_seconds = poll_seconds
        self._requested = asyncio.Event()
        self._in_force: object = None  # unknown: the files may have changed since they were read
        self._seen: object = None
        self._failed: object = None
        self._warn_at = 0.0

    def request(self) -> None:
        """Look at the files now."""
        self._requested.set()

    async def run(self) -> None:
        """Look at the files again and again, until cancelled."""
        await self.check(at_once=True)
        while True:
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await self._requested.wait()
            except TimeoutError:
                await self.check(at_once=False)
            else:
                self._requested.clear()
                self._failed = None
                await self.check(at_once=True)

    async def check(self, *, at_once: bool) -> None:
        """Use the files if they have changed."""
        self._warn_of_expiry()
        stamps = await in_thread(file_stamps, self._settings)
        settled, self._seen = at_once or stamps == self._seen, stamps
        if not settled or stamps in (self._in_force, self._failed):
            return
        try:
            files = await in_thread(self._load, self._settings)
        except TlsError as error:
            self._failed = stamps
            logger.error(
                "The TLS files could not be read again; those in force stay: %s",
                error,
                extra={"event": "tls_reload_failed"},
            )
            return
        self._in_force, self._failed = stamps, None
        if files.digest != self._tls.files.digest:
            self._use(files)

    def _use(self, files: TlsFiles) -> None:
        removed = self._tls.use(files)
        self._warn_at = 0.0
        logger.warning(
            "TLS files changed; new connections get the %s; %d authorities of clients removed",
            files,
            len(removed),
            extra={"event": "tls_reloaded", "expires": files.expires.isoformat(), "removed": len(removed)},
        )
        if removed:
            self._on_authorities_removed()

    def _warn_of_expiry(self) -> None:
        now = asyncio.get_running_loop().time()
        days = self._tls.files.days_left()
        if days >= EXPIRY_WARNING_DAYS or now < self._warn_at:
            return
        self._warn_at = now + _WARN_EVERY_SECONDS
        logger.warning(
            "The TLS %s: renew it",
            self._tls.files,
            extra={"event": "tls_certificate_expires", "expires": self._tls.files.expires.isoformat()},
        )


def end_outdated_connections(server: web.Server, tls: ServerTls, *, in_flight: InFlightRequests) -> None:
    """Have clients whose authority may be trusted no more show their certificates again.

    Their connections end, after the response to the request in flight if there is one.
    """
    for connection in server.connections:
        transport = connection.transport
        layer = None if transport is None else transport.get_extra_info("ssl_object")
        if layer is None or not tls.is_outdated(layer):
            continue
        if in_flight.contains(connection):
            connection.close()
        else:
            connection.force_close()
