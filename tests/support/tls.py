"""Authorities, certificates and their files, and a server that uses them."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import trustme
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.server.tls import ServerTls, TlsSite
from gateway.server.tls_files import load_tls_files
from gateway.settings import TlsSettings
from tests.support.raw_clients import SECONDS, Bare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from aiohttp.typedefs import Handler

CHECKOUT = "spiffe://mesh/ns/shop/sa/checkout"


def issue(
    ca: trustme.CA,
    *,
    uris: Sequence[str] = (),
    hosts: Sequence[str] = (),
    addresses: Sequence[str] = (),
    common_name: str = "a common name",
    expires: datetime | None = None,
    starts: datetime | None = None,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> tuple[bytes, bytes]:
    """Return a certificate and its key as PEM texts; of an authority of trustme, which knows no URIs."""
    issuer = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    issuer_key = load_pem_private_key(ca.private_key_pem.bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
    names += [x509.DNSName(host) for host in hosts]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts or now - timedelta(days=30))
        .not_valid_after(expires or now + timedelta(days=90))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Pki:
    """An authority of servers, one of clients, and the files of a gateway in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers, self.clients = trustme.CA(), trustme.CA()
        self.cert, self.key, self.client_ca = (
            folder / name for name in ("server.pem", "server-key.pem", "clients.pem")
        )
        self.write_server()
        self.write_client_cas(self.clients)
        self._count = 0

    def settings(self, client: str = "none") -> TlsSettings:
        """Return the settings that name the files."""
        return TlsSettings.model_validate(self.environ(client))

    def environ(self, client: str = "none") -> dict[str, str]:
        """Return the same as variables."""
        values = {
            "GATEWAY_TLS_CERT_FILE": str(self.cert),
            "GATEWAY_TLS_KEY_FILE": str(self.key),
            "GATEWAY_TLS_CLIENT": client,
        }
        return values if client == "none" else values | {"GATEWAY_TLS_CLIENT_CA_FILE": str(self.client_ca)}

    def write_server(self, **options: Any) -> bytes:
        """Write a new certificate and key of the server; return the certificate in DER form."""
        pem, key = issue(
            self.servers,
            hosts=["localhost"],
            addresses=["127.0.0.1"],
            usage=ExtendedKeyUsageOID.SERVER_AUTH,
            **options,
        )
        self.cert.write_bytes(pem)
        self.key.write_bytes(key)
        self.key.chmod(0o600)
        return ssl.PEM_cert_to_DER_cert(pem.decode())

    def write_client_cas(self, *cas: trustme.CA) -> None:
        """Write the authorities of clients."""
        self.client_ca.write_bytes(b"".join(ca.cert_pem.bytes() for ca in cas))

    def client(
        self, ca: trustme.CA | None = None, *, version: ssl.TLSVersion | None = None, **names: Any
    ) -> ssl.SSLContext:
        """Return what a client connects with; it has a certificate of `ca` if there are `names`."""
        context = ssl.create_default_context(cadata=self.servers.cert_pem.bytes().decode())
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if names:
            self._count += 1
            path = self.folder / f"client-{self._count}.pem"
            path.write_bytes(b"".join(issue(ca or self.clients, **names)))
            context.load_cert_chain(path)
        return context


class TlsServer:
    """A running server: its port, its TLS, and the failed handshakes."""

    def __init__(self, runner: web.AppRunner, tls: ServerTls, port: int) -> None:
        self.runner, self.tls, self.port = runner, tls, port
        self.failures: list[str] = []
        tls.on_failure = self.failures.append

    @property
    def server(self) -> web.Server:
        """aiohttp's server."""
        assert self.runner.server is not None
        return self.runner.server

    @asynccontextmanager
    async def connect(self, context: ssl.SSLContext | None) -> AsyncIterator[Bare]:
        """Connect to it, and vanish at the end."""
        client = await self.open(context)
        try:
            yield client
        finally:
            client.vanish()

    async def open(self, context: ssl.SSLContext | None) -> Bare:
        """Return a connection to it."""
        name = "localhost" if context else None
        async with asyncio.timeout(SECONDS):
            return Bare(
                *await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=name)
            )

    async def ask(self, context: ssl.SSLContext | None, path: str = "/") -> str:
        """Return the body of the answer to one request on a new connection; raise what the client gets."""
        async with self.connect(context) as client:
            await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            async with asyncio.timeout(SECONDS):
                answer = await client._reader.read()
            return answer.partition(b"\r\n\r\n")[2].decode()


@asynccontextmanager
async def tls_server(
    settings: TlsSettings,
    routes: Mapping[str, Handler],
    *,
    handshake_seconds: float = 10.0,
    closing_seconds: float = SECONDS,
    **options: Any,
) -> AsyncIterator[TlsServer]:
    """Serve `routes` with GET and POST, as the gateway does."""
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_get(path, handler)
        app.router.add_post(path, handler)
    runner = web.AppRunner(app, access_log=None, **options)
    await runner.setup()
    tls = ServerTls(load_tls_files(settings))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = TlsSite(
            runner,
            listener,
            tls=tls,
            backlog=100,
            closing_seconds=closing_seconds,
            handshake_seconds=handshake_seconds,
        )
        await site.start()
        try:
            yield TlsServer(runner, tls, listener.getsockname()[1])
        finally:
            await runner.cleanup()
