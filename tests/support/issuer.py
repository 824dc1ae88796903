"""An OpenID provider on loopback: its keys, its documents, and the tokens that it signs."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

AUDIENCE = "gateway"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@cache
def rsa_key(name: str = "a", bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return an RSA key, the same for the same name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key(name: str = "a") -> ec.EllipticCurvePrivateKey:
    """Return a key on P-256, the same for the same name."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed_key(name: str = "a") -> ed25519.Ed25519PrivateKey:
    """Return an Ed25519 key, the same for the same name."""
    return ed25519.Ed25519PrivateKey.generate()


def jwk(key: PrivateKey, kid: Any = "a", **members: object) -> dict[str, Any]:
    """Return the public key as an entry of a JWKS; None leaves a member out."""
    algorithm = "EdDSA"
    if isinstance(key, rsa.RSAPrivateKey):
        algorithm = "RS256"
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm = "ES256"
    entry: dict[str, Any] = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
    entry |= {"kid": kid, "use": "sig", "key_ops": None, **members}
    return {name: value for name, value in entry.items() if value is not None}


def encode(data: bytes | Mapping[str, Any]) -> str:
    """Return a part of a token: base64url without padding, of bytes or of JSON."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign(
    payload: bytes | Mapping[str, Any],
    *,
    key: Any,
    algorithm: str = "RS256",
    header: bytes | Mapping[str, Any] | None = None,
    **members: Any,
) -> str:
    """Return a token with this payload, and this header or one of these members, whatever it is."""
    if header is None:
        header = {"alg": algorithm, "typ": "JWT", "kid": "a", **members}
        header = {name: value for name, value in header.items() if value is not None}
    signed = f"{encode(header)}.{encode(payload)}"
    signature = get_default_algorithms()[algorithm].sign(signed.encode(), key)
    return f"{signed}.{encode(signature)}"


@dataclass
class Issuer:
    """A running issuer. `answers` replaces what a path is answered with; `requests` counts by path."""

    url: str
    keys: list[dict[str, Any]] = field(default_factory=lambda: [jwk(rsa_key())])
    answers: dict[str, Handler] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of a good token with changes; None leaves one out."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 3600, **changes}
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self, key: Any = None, *, algorithm: str = "RS256", kid: str | None = "a", **changes: Any
    ) -> str:
        """Return a token of a good form with changed claims."""
        return sign(self.claims(**changes), key=key or rsa_key(), algorithm=algorithm, kid=kid)

    def discovery(self) -> dict[str, Any]:
        """Return the issuer's description of itself."""
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.requests[request.path] += 1
        self.headers.append(request.headers)
        if request.path in self.answers:
            return await self.answers[request.path](request)
        if request.path == "/.well-known/openid-configuration":
            return web.json_response(self.discovery())
        if request.path == "/keys":
            return web.json_response({"keys": self.keys})
        raise web.HTTPNotFound


@asynccontextmanager
async def run_issuer(**ssl_context: Any) -> AsyncIterator[Issuer]:
    """Yield an issuer that runs; `ssl_context` makes it one by https."""
    app = web.Application()
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    issuer = Issuer("")
    app.router.add_route("*", "/{path:.*}", issuer.handle)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, **ssl_context).start()
        scheme = "https" if ssl_context else "http"
        issuer.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
        yield issuer
    finally:
        await runner.cleanup()


def answer(body: bytes | str = b"", status: int = 200, headers: Mapping[str, str] | None = None) -> Handler:
    """Return a handler that answers with this body."""

    async def handle(_: web.Request) -> web.StreamResponse:
        data = body if isinstance(body, bytes) else body.encode()
        return web.Response(body=data, status=status, headers=headers)

    return handle


async def never(_: web.Request) -> web.StreamResponse:
    """Answer nothing."""
    await asyncio.Event().wait()
    raise AssertionError


def pem_of(key: PrivateKey) -> bytes:
    """Return the public key as PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def hmac_token(claims: Mapping[str, Any], secret: bytes, algorithm: str = "HS256") -> str:
    """Return a token signed with a secret; PyJWT itself refuses to use a public key as one."""
    signed = f"{encode({'alg': algorithm, 'typ': 'JWT', 'kid': 'a'})}.{encode(claims)}"
    return f"{signed}.{encode(hmac.digest(secret, signed.encode(), 'sha256'))}"
