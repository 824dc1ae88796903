"""Proves how the MLflow client uses its address, credentials and certificates."""

from __future__ import annotations

import ssl
import subprocess
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from pydantic import SecretStr

from gateway.errors import BadUpstreamResponse
from gateway.mlflow_client import MlflowClient, parse_tracking_url
from gateway.settings import load
from tests.support.faulty_proxy import answer, scripted

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

TOKEN = {"MLFLOW_TRACKING_TOKEN": "abc"}
EMPTY_RESULT = answer(200, b"{}")


def basic(user: str, password: str) -> bytes:
    return b"Basic " + b64encode(f"{user}:{password}".encode())


def client(url: str, variables: dict[str, str] | None = None, *, file: Path | None = None) -> MlflowClient:
    """Return a client whose credentials file has the text of `file`, or which has none."""
    settings = load({"MLFLOW_TRACKING_URI": url, **(variables or {})}).mlflow
    stored = SecretStr(file.read_text() if file is not None else "")
    return MlflowClient(settings.model_copy(update={"stored_credentials": stored}))


@pytest.fixture
def credentials_file(tmp_path: Path) -> Path:
    """A credentials file in the form of `mlflow login`."""
    file = tmp_path / "credentials"
    file.write_text("[mlflow]\nmlflow_tracking_username = filed\nmlflow_tracking_password = 50%off\n")
    return file


@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({}, None),
        ({"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "pä:ss"}, basic("ann", "pä:ss")),
        ({"MLFLOW_TRACKING_TOKEN": "abc"}, b"Bearer abc"),
        (
            {
                "MLFLOW_TRACKING_USERNAME": "ann",
                "MLFLOW_TRACKING_PASSWORD": "x",
                "MLFLOW_TRACKING_TOKEN": "abc",
            },
            basic("ann", "x"),
        ),
    ],
)
async def test_credentials_are_sent_as_mlflow_sends_them(
    variables: dict[str, str], header: bytes | None
) -> None:
    """A user name with a password takes precedence over a token; without either nothing is sent."""
    async with (
        scripted(EMPTY_RESULT) as server,
        client(server.url, variables) as mlflow,
    ):
        await mlflow.search_registered_models(max_results=1)
    sent = [line for line in server.requests[0].split(b"\r\n") if line.lower().startswith(b"authorization")]
    assert sent == ([b"Authorization: " + header] if header else [])


async def test_the_credentials_file_is_the_fallback(credentials_file: Path) -> None:
    """It is used for values that the settings do not have; percent signs in it have no special meaning."""
    async with scripted(EMPTY_RESULT) as server, client(server.url, file=credentials_file) as mlflow:
        await mlflow.search_registered_models(max_results=1)
        assert basic("filed", "50%off") in server.requests[0]
    variables = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "x"}
    async with (
        scripted(EMPTY_RESULT) as server,
        client(server.url, variables, file=credentials_file) as mlflow,
    ):
        await mlflow.search_registered_models(max_results=1)
        assert basic("ann", "x") in server.requests[0]


async def test_a_broken_credentials_file_is_named_not_shown(tmp_path: Path) -> None:
    """The error names the right format and contains no line of the file."""
    file = tmp_path / "credentials"
    file.write_text("password = hunter2\n")
    with pytest.raises(ValueError, match="INI file") as caught:
        client("http://127.0.0.1:1", file=file)
    assert "hunter2" not in str(caught.value)


async def test_workspace_prefix_and_registry_are_used() -> None:
    """Every path begins with the prefix, and calls for the registry go to its own server."""
    async with scripted(EMPTY_RESULT) as tracking, scripted(EMPTY_RESULT) as registry:
        variables = {"MLFLOW_REGISTRY_URI": f"{registry.url}/reg/", "MLFLOW_WORKSPACE": "cellar"}
        async with client(f"{tracking.url}/a/b/", variables) as mlflow:
            await mlflow.search_registered_models(max_results=1)
            await mlflow.search_experiments(max_results=1)
            await mlflow.list_artifacts("x y")
    assert registry.requests[0].startswith(b"GET /reg/api/2.0/mlflow/registered-models/search?max_results=1 ")
    assert tracking.requests[0].startswith(b"POST /a/b/api/2.0/mlflow/experiments/search ")
    assert tracking.requests[1].startswith(b"GET /a/b/api/2.0/mlflow-artifacts/artifacts?path=x+y ")
    assert all(b"X-MLFLOW-WORKSPACE: cellar" in request for request in tracking.requests + registry.requests)


async def test_redirects_are_not_followed() -> None:
    """A redirect is an error, and its target gets no request with the credentials."""
    async with scripted(EMPTY_RESULT) as target:
        redirect = answer(302, more=f"Location: {target.url}/\r\n")
        async with scripted(redirect) as server, client(server.url, TOKEN) as mlflow:
            with pytest.raises(BadUpstreamResponse, match="redirect"):
                await mlflow.search_registered_models(max_results=1)
            with pytest.raises(BadUpstreamResponse, match="redirect"):
                async with mlflow.stream_artifact("a"):
                    raise AssertionError("followed")
    assert target.requests == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not set"),
        ("sqlite:///mlflow.db", "must be an http or https address"),
        ("file:///mlruns", "must be an http or https address"),
        ("databricks", "must be an http or https address"),
        ("http://", "must be an http or https address|is not an address"),
        ("http://host:port", "is not an address"),
        ("http://user:secret@host/?a=b", "must not contain"),
    ],
)
def test_a_wrong_address_is_an_error_with_a_hint(text: str, message: str) -> None:
    """The message names the command to run and the setting, and never the password in the address."""
    with pytest.raises(ValueError, match=message) as caught:
        parse_tracking_url(text)
    assert "MLFLOW_TRACKING_URI" in str(caught.value)
    assert "secret" not in str(caught.value)
    if message != "must not contain":
        assert "mlflow server --backend-store-uri" in str(caught.value)


def test_an_address_may_have_a_path_prefix() -> None:
    """A proxy may serve MLflow under a path."""
    assert str(parse_tracking_url(" https://example.org/ml/flow ")) == "https://example.org/ml/flow"


async def test_a_real_server_has_a_version(mlflow_server: MlflowServer) -> None:
    """`/version` is plain text with the content type of HTML."""
    async with client(mlflow_server.url) as mlflow:
        assert (await mlflow.server_version()).startswith("3.")


async def test_credentials_are_sent_with_calls_and_downloads() -> None:
    """Without them the error for the server's HTML 401 names the settings."""

    async def handle(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != basic("ann", "s3cret").decode():
            return web.Response(status=401, text="<h1>401</h1>", content_type="text/html")
        return web.json_response({"files": [{"path": "a", "is_dir": False, "file_size": "3"}]})

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    variables = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "s3cret"}
    try:
        async with client(url) as mlflow:
            with pytest.raises(BadUpstreamResponse, match="MLFLOW_TRACKING_USERNAME"):
                await mlflow.list_artifacts("x")
        async with client(url, variables) as mlflow:
            assert [entry.size for entry in await mlflow.list_artifacts("x")] == [3]
            async with mlflow.stream_artifact("x/a") as stream:
                assert b"files" in b"".join([chunk async for chunk in stream])
    finally:
        await runner.cleanup()


class Certificate:
    """A self-signed certificate for 127.0.0.1; the file `both` also has its key."""

    def __init__(self, folder: Path) -> None:
        self.file, key, self.both = (folder / name for name in ("cert.pem", "key.pem", "both.pem"))
        subject = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", str(key), "-out", str(self.file)]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files],
            check=True,
            capture_output=True,
        )
        self.both.write_text(self.file.read_text() + key.read_text())

    def context(self, *, require_client: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.both)
        if require_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.file)
        return context


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


async def _serve(context: ssl.SSLContext) -> tuple[web.AppRunner, str]:
    async def version(request: web.Request) -> web.Response:
        return web.Response(text="3.0.0")

    app = web.Application()
    app.router.add_get("/version", version)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    return runner, f"https://127.0.0.1:{runner.addresses[0][1]}"


async def test_tls_is_verified_by_default(certificate: Certificate) -> None:
    """An untrusted certificate is an error; the setting of a CA file or the insecure switch resolves it."""
    runner, url = await _serve(certificate.context(require_client=False))
    try:
        async with client(url) as mlflow:
            with pytest.raises(BadUpstreamResponse, match="MLFLOW_TRACKING_SERVER_CERT_PATH"):
                await mlflow.server_version()
        async with client(url, {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(certificate.file)}) as mlflow:
            assert await mlflow.server_version() == "3.0.0"
        async with client(url, {"MLFLOW_TRACKING_INSECURE_TLS": "true"}) as mlflow:
            assert await mlflow.server_version() == "3.0.0"
    finally:
        await runner.cleanup()


async def test_the_client_certificate_is_sent(certificate: Certificate) -> None:
    """A server that requires a client certificate accepts the one in the settings."""
    runner, url = await _serve(certificate.context(require_client=True))
    variables = {
        "MLFLOW_TRACKING_SERVER_CERT_PATH": str(certificate.file),
        "MLFLOW_TRACKING_CLIENT_CERT_PATH": str(certificate.both),
    }
    try:
        async with client(url, variables) as mlflow:
            assert await mlflow.server_version() == "3.0.0"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"])
def test_a_wrong_certificate_file_is_an_error_with_the_settings_name(name: str, tmp_path: Path) -> None:
    """It is raised when the client is created, not by the first call."""
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("not a certificate")
    with pytest.raises(ValueError, match=name):
        client("https://127.0.0.1:1", {name: str(wrong)})
