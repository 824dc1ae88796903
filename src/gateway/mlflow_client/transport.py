"""HTTP to one MLflow server: time limits, a few quick retries, bounded replies, foreign errors translated."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import orjson
from yarl import URL

from gateway.errors import BadUpstreamResponse
from gateway.mlflow_client.artifacts import ArtifactStream
from gateway.mlflow_client.circuit_breaker import CircuitBreaker
from gateway.mlflow_client.errors import RETRYABLE_STATUSES, error_for_response, is_transient, translate_error

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Mapping

RETRY_DELAYS = (0.1, 0.3)
MAX_RESPONSE_BYTES = 64 * 2**20
_PARSE_IN_THREAD_BYTES = 256 * 2**10
_MAX_ERROR_BYTES = 64 * 2**10
_DNS_TTL_SECONDS = 60

Json = dict[str, Any]
T = TypeVar("T")


class Transport:
    """A session with one server; every call here is a read, so every call may be repeated."""

    def __init__(
        self, base: URL, *, headers: Mapping[str, str], tls: ssl.SSLContext, timeout: float, connections: int
    ) -> None:
        self._base = str(base.with_user(None)).rstrip("/")
        self._headers = dict(headers)
        self._tls = tls
        self._timeout = timeout
        self._connections = connections
        self._circuit_breaker = CircuitBreaker(timeout)
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make ready to call; nothing is sent yet."""
        connector = aiohttp.TCPConnector(
            limit=self._connections, ttl_dns_cache=_DNS_TTL_SECONDS, ssl=self._tls
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=self._timeout),
        )

    async def close(self) -> None:
        """End every connection; closing twice does no harm."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(
        self, path: str, params: Mapping[str, str] | None = None, *, read: Callable[[Json], T]
    ) -> T:
        """What `read` makes of the JSON object that GET `path` answers; in a thread where that is large."""
        return await _parse_response(*await self._read("GET", path, params=params), read=read)

    async def post(self, path: str, body: Json, *, read: Callable[[Json], T]) -> T:
        """The same of what a search by POST answers."""
        return await _parse_response(*await self._read("POST", path, body=body), read=read)

    async def text(self, path: str) -> str:
        """The text that GET `path` answers, whatever type the server calls it."""
        _, content = await self._read("GET", path)
        return content.decode(errors="replace").strip()

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[ArtifactStream]:
        """The body of GET `path` as it arrives; the time limit counts between its pieces."""
        reply = await self._open_stream(path)
        try:
            yield ArtifactStream(reply)
        finally:
            reply.close()

    async def _open_stream(self, path: str) -> aiohttp.ClientResponse:
        for pause in (*RETRY_DELAYS, None):
            try:
                reply = await self._send("GET", path, headers={"Accept-Encoding": "identity"})
                if reply.status < 300:
                    return reply
                if pause is None or reply.status not in RETRYABLE_STATUSES:
                    raise await _response_error(reply)
                reply.close()
            except (aiohttp.ClientError, TimeoutError) as error:
                if pause is None or isinstance(error, TimeoutError) or not is_transient(error):
                    raise translate_error(error) from error
            await _sleep_before_retry(pause)
        raise AssertionError  # the last round returns or raises

    async def _read(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Json | None = None
    ) -> tuple[str, bytes]:
        try:
            # The limit holds over all attempts.
            with self._circuit_breaker.call() as seconds:
                async with asyncio.timeout(seconds):
                    return await self._read_with_retries(method, path, params=params, body=body)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise translate_error(error) from error

    async def _read_with_retries(
        self, method: str, path: str, *, params: Mapping[str, str] | None, body: Json | None
    ) -> tuple[str, bytes]:
        for pause in (*RETRY_DELAYS, None):
            try:
                async with await self._send(method, path, params=params, body=body) as reply:
                    if reply.status < 300:
                        return reply.content_type, await _read_body(reply)
                    if pause is None or reply.status not in RETRYABLE_STATUSES:
                        raise await _response_error(reply)
            except aiohttp.ClientError as error:
                if pause is None or not is_transient(error):
                    raise
            await _sleep_before_retry(pause)
        raise AssertionError  # the last round returns or raises

    async def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the MLflow client is not open")
        url = URL(f"{self._base}{path}", encoded=True)
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Type"] = "application/json"
        return await self._session.request(
            method,
            url.with_query(params) if params else url,
            data=None if body is None else orjson.dumps(body),
            headers=sent,
            # A redirect would carry the credentials to wherever it points.
            allow_redirects=False,
        )


async def _sleep_before_retry(pause: float | None) -> None:
    if pause is not None:
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads retries, guards nothing


async def _read_body(reply: aiohttp.ClientResponse) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in reply.content.iter_any():
        size += len(piece)
        if size > MAX_RESPONSE_BYTES:
            raise BadUpstreamResponse(f"MLflow's answer is larger than {MAX_RESPONSE_BYTES >> 20} MiB.")
        pieces.append(piece)
    return b"".join(pieces)


async def _response_error(reply: aiohttp.ClientResponse) -> Exception:
    try:
        body = await reply.content.read(_MAX_ERROR_BYTES)
    except aiohttp.ClientError:
        # The status says enough where the text that explains it broke off.
        body = b""
    finally:
        reply.close()
    return error_for_response(reply.status, media_type=reply.content_type, body=body)


async def _parse_response(media_type: str, content: bytes, *, read: Callable[[Json], T]) -> T:
    if len(content) <= _PARSE_IN_THREAD_BYTES:
        return read(_parse_json(media_type, content))
    return await asyncio.to_thread(lambda: read(_parse_json(media_type, content)))


def _parse_json(media_type: str, content: bytes) -> Json:
    if media_type != "application/json":
        raise BadUpstreamResponse(
            "MLflow's address answered, but not in JSON: MLFLOW_TRACKING_URI must name an MLflow server."
        )
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BadUpstreamResponse("MLflow's answer is not valid JSON.") from error
    if not isinstance(parsed, dict):
        raise BadUpstreamResponse("MLflow's answer is not a JSON object.")
    return parsed
