"""Proves how errors and faults of an S3 server are reported."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.artifacts.progress import DownloadProgress
from gateway.artifacts.stores.by_file import FileByFileStore
from gateway.artifacts.stores.s3 import S3FileStore
from gateway.errors import BadUpstreamResponse, GatewayError, UpstreamTimeout, UpstreamUnavailable
from gateway.settings import load
from tests.support import s3_bucket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.artifacts.stores.base import StoredFile
    from tests.support.s3_bucket import Bucket

URI = "s3://somewhere/model"


@pytest.fixture
async def faulty() -> AsyncIterator[Bucket]:
    """A server whose faults the test sets."""
    async with s3_bucket.opened() as served:
        yield served


@asynccontextmanager
async def opened(
    url: str, *, read_timeout: float = 10, max_attempts: int = 1, **variables: str
) -> AsyncIterator[FileByFileStore]:
    """Open a store for the server at `url`; `variables` are further settings."""
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    store = S3FileStore(
        load({"MLFLOW_S3_ENDPOINT_URL": url, **keys, **variables}).s3,
        read_timeout=read_timeout,
        max_attempts=max_attempts,
    )
    try:
        yield FileByFileStore(store)
    finally:
        await store.close()


async def fetch(store: FileByFileStore, folder: Path) -> tuple[StoredFile, ...]:
    """Download the model at URI to `folder`."""
    model = await store.find(URI)
    return await model.fetch(folder, DownloadProgress("m", total=model.size, limit=10**6))


async def test_a_wrong_md5_is_rejected(faulty: Bucket, tmp_path: Path) -> None:
    """A plain ETag is the content's MD5; that of an encrypted or multipart object is not."""
    wrong = f'"{"0" * 32}"'
    async with opened(faulty.url) as store:
        faulty.headers = {"ETag": wrong}
        with pytest.raises(BadUpstreamResponse, match="MD5"):
            await fetch(store, tmp_path / "plain")
        faulty.headers = {"ETag": wrong, "x-amz-server-side-encryption": "aws:kms"}
        assert len(await fetch(store, tmp_path / "kms")) == 2
        faulty.headers = {"ETag": wrong, "x-amz-server-side-encryption-customer-algorithm": "AES256"}
        assert len(await fetch(store, tmp_path / "customer")) == 2
        faulty.headers = {"ETag": f'"{"0" * 32}-2"'}
        assert len(await fetch(store, tmp_path / "parts")) == 2
        faulty.headers = {"ETag": wrong, "x-amz-server-side-encryption": "AES256"}
        with pytest.raises(BadUpstreamResponse, match="MD5"):
            await fetch(store, tmp_path / "own")


async def test_a_truncated_body_is_an_upstream_error(faulty: Bucket, tmp_path: Path) -> None:
    """No error of the HTTP library is raised."""
    faulty.cut = 5
    async with opened(faulty.url) as store:
        with pytest.raises(BadUpstreamResponse, match="closed the connection"):
            await fetch(store, tmp_path / "m")


async def test_a_stalled_body_is_a_timeout(faulty: Bucket, tmp_path: Path) -> None:
    """The server sends half a body and then nothing."""
    faulty.cut, faulty.silent = 5, True
    async with opened(faulty.url, read_timeout=0.3) as store:
        with pytest.raises(UpstreamTimeout):
            await fetch(store, tmp_path / "m")


ERRORS: list[tuple[int, str, type[GatewayError], str]] = [
    (403, "AccessDenied", BadUpstreamResponse, "AWS_ACCESS_KEY_ID"),
    (400, "ExpiredToken", BadUpstreamResponse, "AWS_SESSION_TOKEN"),
    (400, "AuthorizationHeaderMalformed", BadUpstreamResponse, "AWS_DEFAULT_REGION"),
    (503, "SlowDown", UpstreamUnavailable, "SlowDown"),
    (400, "RequestTimeout", UpstreamTimeout, "in time"),
    (403, "InvalidObjectState", BadUpstreamResponse, "InvalidObjectState"),
    (418, "secret &lt;b&gt;", BadUpstreamResponse, "an unknown error"),
]


async def test_each_error_code_is_translated(faulty: Bucket) -> None:
    """The error's class and message fit the server's code; a malformed code is not repeated."""
    async with opened(faulty.url) as store:
        for status, code, error, text in ERRORS:
            faulty.errors = [(status, code)]
            with pytest.raises(error, match=text) as caught:
                await store.find(URI)
            assert "secret" not in str(caught.value)


async def test_a_transient_error_is_retried(faulty: Bucket, tmp_path: Path) -> None:
    """A throttled call is made again, up to three times."""
    faulty.errors = [(503, "SlowDown")]
    async with opened(faulty.url, max_attempts=3) as store:
        assert len(await fetch(store, tmp_path)) == 2


async def test_the_expected_bucket_owner_is_sent(faulty: Bucket, tmp_path: Path) -> None:
    """With the setting, every call has the expected owner of the bucket; without it none does."""
    async with opened(faulty.url) as store:
        await fetch(store, tmp_path / "without")
    assert set(faulty.owners) == {""}
    faulty.owners.clear()
    async with opened(faulty.url, MLFLOW_S3_EXPECTED_BUCKET_OWNER="123456789012") as store:
        await fetch(store, tmp_path / "with")
    assert faulty.owners == ["123456789012"] * 3


async def test_hostile_names_are_rejected(faulty: Bucket, tmp_path: Path) -> None:
    """A key that could lead out of the folder is an error before any file is downloaded."""
    async with opened(faulty.url) as store:
        for name in ("../x", "a//b", "a\\b", "..", "a/../../b"):
            faulty.objects = {**s3_bucket.CONTENT, f"model/{name}": b"evil"}
            with pytest.raises(BadUpstreamResponse, match="lead out of its folder"):
                await fetch(store, tmp_path / "m")
    assert faulty.downloads == 0


async def test_without_credentials_the_settings_are_named(
    faulty: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the AWS default chain finds no credentials."""
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    async with opened(faulty.url, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="") as store:
        with pytest.raises(BadUpstreamResponse, match=r"credentials.*AWS_ACCESS_KEY_ID"):
            await store.find(URI)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same folder."""
    folder = tmp_path_factory.mktemp("tls")
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(private, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(secret)
    return folder / "cert.pem"


async def test_tls_is_verified_by_default(certificate: Path, tmp_path: Path) -> None:
    """An untrusted certificate is an error that names two settings; each of them resolves it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    async with s3_bucket.opened(context) as served:
        async with opened(served.url) as store:
            with pytest.raises(BadUpstreamResponse, match="AWS_CA_BUNDLE, MLFLOW_S3_IGNORE_TLS"):
                await store.find(URI)
        async with opened(served.url, AWS_CA_BUNDLE=str(certificate)) as store:
            assert len(await fetch(store, tmp_path / "known")) == 2
        async with opened(served.url, MLFLOW_S3_IGNORE_TLS="true") as store:
            assert len(await fetch(store, tmp_path / "unchecked")) == 2
