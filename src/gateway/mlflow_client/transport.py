"""HTTP to one MLflow server: time limits, retries, bounded responses, and translated errors."""

from __future__ import annotations

import asyncio
import copy
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

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
MAX_RECORD_BYTES = 16 * 2**20  # of one run, version or model; parsing it holds the GIL
_PARSE_IN_THREAD_BYTES = 256 * 2**10
_MAX_ERROR_BYTES = 64 * 2**10
_DNS_TTL_SECONDS = 60

Json = dict[str, Any]
T = TypeVar("T")


class Transport:
    """An HTTP session with one server; every call only reads, so every call may be retried."""

    def __init__(
        self,
        base: URL,
        *,
        headers: Mapping[str, str],
        tls: ssl.SSLContext,
        timeout: float,
        connections: int,
        proxy: URL | None = None,
        circuit_breaker: CircuitBreaker | None = None,
    ) -> None:
        self._base = str(base.with_user(None)).rstrip("/")
        self._headers = dict(headers)
        self._tls = tls
        self._timeout = timeout
        self._connections = connections
        self._proxy = proxy.with_user(None) if proxy is not None else None
        self._proxy_headers = _proxy_headers(proxy)
        self._circuit_breaker = circuit_breaker or CircuitBreaker(timeout)
        self._session: aiohttp.ClientSession | None = None
        self._authorization: dict[str, str] = {}

    def authorized(self, authorization: str) -> Self:
        """Return a transport over the same open session whose calls have this `Authorization`."""
        other = copy.copy(self)
        other._authorization = {"Authorization": authorization}  # noqa: SLF001 - a copy of its own
        return other

    async def open(self) -> None:
        """Create the HTTP session; send nothing yet."""
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
        """Close every connection; a second call does nothing."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        parse: Callable[[Json], T],
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> T:
        """GET `path` and return the JSON object parsed with `parse`, in a thread if it is large."""
        response = await self._read("GET", path, params=params, max_bytes=max_bytes)
        return await _parse_response(*response, parse=parse)

    async def post(self, path: str, body: Json, *, parse: Callable[[Json], T]) -> T:
        """POST a search to `path` and return the JSON object parsed with `parse`."""
        return await _parse_response(*await self._read("POST", path, body=body), parse=parse)

    async def text(self, path: str) -> str:
        """GET `path` and return the text, whatever its content type."""
        _, content = await self._read("GET", path)
        return content.decode(errors="replace").strip()

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[ArtifactStream]:
        """GET `path` and stream the body; the time limit is for each chunk."""
        response = await self._open_stream(path)
        try:
            yield ArtifactStream(response)
        finally:
            response.close()

    async def _open_stream(self, path: str) -> aiohttp.ClientResponse:
        for delay in (*RETRY_DELAYS, None):
            try:
                response = await self._send("GET", path, headers={"Accept-Encoding": "identity"})
                if response.status < 300:
                    return response
                if delay is None or response.status not in RETRYABLE_STATUSES:
                    raise await _response_error(response)
                response.close()
            except (aiohttp.ClientError, TimeoutError) as error:
                if delay is None or isinstance(error, TimeoutError) or not is_transient(error):
                    raise translate_error(error) from error
            await _sleep_before_retry(delay)
        raise AssertionError  # the last attempt returns or raises

    async def _read(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> tuple[str, bytes]:
        try:
            # One time limit for all attempts together.
            with self._circuit_breaker.call() as seconds:
                async with asyncio.timeout(seconds):
                    return await self._read_with_retries(
                        method, path, params=params, body=body, max_bytes=max_bytes
                    )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise translate_error(error) from error

    async def _read_with_retries(
        self, method: str, path: str, *, params: Mapping[str, str] | None, body: Json | None, max_bytes: int
    ) -> tuple[str, bytes]:
        for delay in (*RETRY_DELAYS, None):
            try:
                async with await self._send(method, path, params=params, body=body) as response:
                    if response.status < 300:
                        return response.content_type, await _read_body(response, max_bytes)
                    if delay is None or response.status not in RETRYABLE_STATUSES:
                        raise await _response_error(response)
            except aiohttp.ClientError as error:
                if delay is None or not is_transient(error):
                    raise
            await _sleep_before_retry(delay)
        raise AssertionError  # the last attempt returns or raises

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
            raise RuntimeError("The MLflow client is not open")
        url = URL(f"{self._base}{path}", encoded=True)
        all_headers = self._authorization | dict(headers or {})
        if body is not None:
            all_headers["Content-Type"] = "application/json"
        return await self._session.request(
            method,
            url.with_query(params) if params else url,
            data=None if body is None else orjson.dumps(body),
            headers=all_headers,
            proxy=self._proxy,
            proxy_headers=self._proxy_headers,
            # A redirect would send the credentials to another address.
            allow_redirects=False,
        )


def _proxy_headers(proxy: URL | None) -> Mapping[str, str] | None:
    """Return the credentials of a proxy's address; aiohttp sends them as Proxy-Authorization."""
    if proxy is None or not proxy.user:
        return None
    return {"Authorization": aiohttp.encode_basic_auth(proxy.user, proxy.password or "", encoding="utf-8")}


async def _sleep_before_retry(delay: float | None) -> None:
    if delay is not None:
        await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > max_bytes:
            raise BadUpstreamResponse(f"MLflow's response is larger than {max_bytes >> 20} MiB.")
        chunks.append(chunk)
    return b"".join(chunks)


async def _response_error(response: aiohttp.ClientResponse) -> Exception:
    try:
        body = await response.content.read(_MAX_ERROR_BYTES)
    except aiohttp.ClientError:
        # The body was cut off; the status alone decides.
        body = b""
    finally:
        response.close()
    return error_for_response(response.status, media_type=response.content_type, body=body)


async def _parse_response(media_type: str, content: bytes, *, parse: Callable[[Json], T]) -> T:
    if len(content) <= _PARSE_IN_THREAD_BYTES:
        return parse(_parse_json(media_type, content))
    return await asyncio.to_thread(lambda: parse(_parse_json(media_type, content)))


def _parse_json(media_type: str, content: bytes) -> Json:
    if media_type != "application/json":
        raise BadUpstreamResponse(
            "MLflow's response is not JSON: MLFLOW_TRACKING_URI must name an MLflow server."
        )
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BadUpstreamResponse("MLflow's response is not valid JSON.") from error
    if not isinstance(parsed, dict):
        raise BadUpstreamResponse("MLflow's response is not a JSON object.")
    return parsed
