"""`s3://` locations at a server that breaks its promises."""

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
    """A server that does whatever its bucket is told."""
    async with s3_bucket.opened() as served:
        yield served


@asynccontextmanager
async def opened(
    url: str, *, read_seconds: float = 10, attempts: int = 1, **changes: str
) -> AsyncIterator[FileByFileStore]:
    """A store for the server at `url`."""
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    store = S3FileStore(
        load({"MLFLOW_S3_ENDPOINT_URL": url, **keys, **changes}).s3,
        read_timeout=read_seconds,
        max_attempts=attempts,
    )
    try:
        yield FileByFileStore(store)
    finally:
        await store.close()


async def fetch(store: FileByFileStore, folder: Path) -> tuple[StoredFile, ...]:
    """Everything at URI to a folder."""
    tree = await store.find(URI)
    return await tree.fetch(folder, DownloadProgress("m", total=tree.size, limit=10**6))


async def test_an_md5_that_does_not_fit_is_refused(faulty: Bucket, tmp_path: Path) -> None:
    """A plain ETag is the content's MD5; one that is encrypted with a foreign key or made of parts is not."""
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


async def test_a_body_that_breaks_off_is_an_error_of_the_store(faulty: Bucket, tmp_path: Path) -> None:
    """No error of the HTTP library below gets through."""
    faulty.cut = 5
    async with opened(faulty.url) as store:
        with pytest.raises(BadUpstreamResponse, match="broke off"):
            await fetch(store, tmp_path / "m")


async def test_a_server_that_falls_silent_is_slow(faulty: Bucket, tmp_path: Path) -> None:
    """Half a body and then nothing."""
    faulty.cut, faulty.silent = 5, True
    async with opened(faulty.url, read_seconds=0.3) as store:
        with pytest.raises(UpstreamTimeout):
            await fetch(store, tmp_path / "m")


REFUSALS: list[tuple[int, str, type[GatewayError], str]] = [
    (403, "AccessDenied", BadUpstreamResponse, "AWS_ACCESS_KEY_ID"),
    (400, "ExpiredToken", BadUpstreamResponse, "AWS_SESSION_TOKEN"),
    (400, "AuthorizationHeaderMalformed", BadUpstreamResponse, "AWS_DEFAULT_REGION"),
    (503, "SlowDown", UpstreamUnavailable, "SlowDown"),
    (400, "RequestTimeout", UpstreamTimeout, "in time"),
    (403, "InvalidObjectState", BadUpstreamResponse, "InvalidObjectState"),
    (418, "secret &lt;b&gt;", BadUpstreamResponse, "no known form"),
]


async def test_each_refusal_has_its_meaning(faulty: Bucket) -> None:
    """What the server's code means for the gateway; a code of no known form is not repeated."""
    async with opened(faulty.url) as store:
        for status, code, meaning, text in REFUSALS:
            faulty.errors = [(status, code)]
            with pytest.raises(meaning, match=text) as caught:
                await store.find(URI)
            assert "secret" not in str(caught.value)


async def test_a_passing_trouble_is_waited_out(faulty: Bucket, tmp_path: Path) -> None:
    """A call that is refused as too many is made again, and only what fails thrice has failed."""
    faulty.errors = [(503, "SlowDown")]
    async with opened(faulty.url, attempts=3) as store:
        assert len(await fetch(store, tmp_path)) == 2


async def test_the_bucket_owner_is_told(faulty: Bucket, tmp_path: Path) -> None:
    """With the setting, every call names the owner that the bucket must have; without it none does."""
    async with opened(faulty.url) as store:
        await fetch(store, tmp_path / "without")
    assert set(faulty.owners) == {""}
    faulty.owners.clear()
    async with opened(faulty.url, MLFLOW_S3_EXPECTED_BUCKET_OWNER="123456789012") as store:
        await fetch(store, tmp_path / "with")
    assert faulty.owners == ["123456789012"] * 3


async def test_hostile_names_are_refused(faulty: Bucket, tmp_path: Path) -> None:
    """A key may hold anything: one that could lead out of the folder ends it before any file is fetched."""
    async with opened(faulty.url) as store:
        for name in ("../x", "a//b", "a\\b", "..", "a/../../b"):
            faulty.objects = {**s3_bucket.CONTENT, f"model/{name}": b"evil"}
            with pytest.raises(BadUpstreamResponse, match="lead out of its folder"):
                await fetch(store, tmp_path / "m")
    assert faulty.fetched == 0


async def test_without_credentials_the_settings_are_named(
    faulty: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The AWS default chain finds none."""
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    async with opened(faulty.url, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="") as store:
        with pytest.raises(BadUpstreamResponse, match=r"credentials.*AWS_ACCESS_KEY_ID"):
            await store.find(URI)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, signed by itself, with its key beside it."""
    folder = tmp_path_factory.mktemp("tls")
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(private, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(secret)
    return folder / "cert.pem"


async def test_tls_is_checked_unless_told_otherwise(certificate: Path, tmp_path: Path) -> None:
    """An unknown certificate is refused naming the settings; each of the two settings then helps."""
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
