"""Fetches an issuer's public keys, which its discovery document leads to (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final, Self

import aiohttp
from yarl import URL

from gateway.auth.jwt.key_set import KeySet, parse_key_set, parse_object
from gateway.concurrency.threads import in_thread
from gateway.settings.jwt import check_https

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from gateway.settings.jwt import JwtSettings

_MAX_BYTES: Final = 64 * 2**10
_TIMEOUT_SECONDS: Final = 5.0
_DISCOVERY_PATH: Final = "/.well-known/openid-configuration"


class KeySetUnavailable(Exception):
    """The keys could not be fetched. The message is for the log: it may name an address."""


class JwksClient:
    """A client of one issuer, which trusts the system's certificate authorities.

    `choose_proxy` returns the HTTP proxy for an address, or None. `timeout` is in seconds, for everything.
    """

    def __init__(
        self,
        settings: JwtSettings,
        *,
        choose_proxy: Callable[[URL], URL | None] = lambda _: None,
        tls: ssl.SSLContext | None = None,
        timeout: float = _TIMEOUT_SECONDS,
    ) -> None:
        self._settings = settings
        self._choose_proxy = choose_proxy
        self._tls = tls or ssl.create_default_context()
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=2, ssl=self._tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            auto_decompress=False,  # a small body could become a large one
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def fetch(self) -> KeySet:
        """Return the issuer's keys of now; raise KeySetUnavailable with the reason."""
        try:
            async with asyncio.timeout(self._timeout):
                url = self._settings.jwks_url or await self._discover()
                body = await self._get(url)
        except TimeoutError as error:
            raise KeySetUnavailable(f"no answer within {self._timeout:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: of the proxy's address
            raise KeySetUnavailable(f"{type(error).__name__}: {error}") from error
        try:
            return await in_thread(parse_key_set, body, self._settings.algorithms)
        except ValueError as error:
            raise KeySetUnavailable(f"{url} {error}") from error

    async def _discover(self) -> str:
        """Return the address of the keys from the issuer's own description, which must name the issuer."""
        url = self._settings.issuer.removesuffix("/") + _DISCOVERY_PATH
        body = await self._get(url)
        try:
            document = parse_object(body)
            if (named := document.get("issuer")) != self._settings.issuer:
                raise ValueError(f"describes the issuer {str(named)[:200]!r}, not {self._settings.issuer!r}")
            jwks_uri = document.get("jwks_uri")
            if not isinstance(jwks_uri, str) or not jwks_uri:
                raise ValueError("has no jwks_uri")
            return check_https(jwks_uri)
        except ValueError as error:
            raise KeySetUnavailable(f"{url} {error}") from error

    async def _get(self, url: str) -> bytes:
        if self._session is None:
            raise RuntimeError("The client of the issuer is not open")
        proxy = self._choose_proxy(URL(url))
        async with self._session.get(url, proxy=proxy, allow_redirects=False) as response:
            if response.status != 200:
                raise KeySetUnavailable(f"{url} answered {response.status}")
            return await _read_bounded(response)


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise KeySetUnavailable(f"{response.url} answered with more than {_MAX_BYTES >> 10} KiB")
    return bytes(body)
