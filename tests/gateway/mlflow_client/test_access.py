"""Who the gateway is to MLflow, where it finds it, and whom it trusts."""

from __future__ import annotations

import ssl
import subprocess
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.errors import BadUpstreamResponse
from gateway.mlflow_client import MlflowClient, parse_tracking_url
from gateway.settings import load
from tests.support.faulty_proxy import answer, scripted

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

TOKEN = {"MLFLOW_TRACKING_TOKEN": "abc"}
NOTHING = answer(200, b"{}")


def basic(user: str, password: str) -> bytes:
    return b"Basic " + b64encode(f"{user}:{password}".encode())


def client(url: str, names: dict[str, str] | None = None, *, file: Path | None = None) -> MlflowClient:
    return MlflowClient(load({"MLFLOW_TRACKING_URI": url, **(names or {})}).mlflow, credentials_file=file)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A credentials file as `mlflow login` leaves it."""
    file = tmp_path / "credentials"
    file.write_text("[mlflow]\nmlflow_tracking_username = filed\nmlflow_tracking_password = 50%off\n")
    return file


@pytest.mark.parametrize(
    ("names", "header"),
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
    names: dict[str, str], header: bytes | None, tmp_path: Path
) -> None:
    """A user name with its password wins over a token; without either nothing is sent."""
    async with scripted(NOTHING) as server, client(server.url, names, file=tmp_path / "none") as mlflow:
        await mlflow.search_registered_models(max_results=1)
    sent = [line for line in server.requests[0].split(b"\r\n") if line.lower().startswith(b"authorization")]
    assert sent == ([b"Authorization: " + header] if header else [])


async def test_the_credentials_file_is_the_fallback(written: Path) -> None:
    """What the settings leave out comes from the file, percent signs and all."""
    async with scripted(NOTHING) as server, client(server.url, file=written) as mlflow:
        await mlflow.search_registered_models(max_results=1)
        assert basic("filed", "50%off") in server.requests[0]
    names = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "x"}
    async with scripted(NOTHING) as server, client(server.url, names, file=written) as mlflow:
        await mlflow.search_registered_models(max_results=1)
        assert basic("ann", "x") in server.requests[0]


async def test_a_broken_credentials_file_is_named_not_shown(tmp_path: Path) -> None:
    """The error tells the form that is right, and holds no line of the file."""
    file = tmp_path / "credentials"
    file.write_text("password = hunter2\n")
    with pytest.raises(ValueError, match="INI file") as caught:
        client("http://127.0.0.1:1", file=file)
    assert "hunter2" not in str(caught.value)


async def test_workspace_prefix_and_registry_have_their_places(tmp_path: Path) -> None:
    """The path prefix stays before every call, the registry's calls go to its own server."""
    async with scripted(NOTHING) as tracking, scripted(NOTHING) as registry:
        names = {"MLFLOW_REGISTRY_URI": f"{registry.url}/reg/", "MLFLOW_WORKSPACE": "cellar"}
        async with client(f"{tracking.url}/a/b/", names, file=tmp_path / "none") as mlflow:
            await mlflow.search_registered_models(max_results=1)
            await mlflow.search_experiments(max_results=1)
            await mlflow.list_artifacts("x y")
    assert registry.requests[0].startswith(b"GET /reg/api/2.0/mlflow/registered-models/search?max_results=1 ")
    assert tracking.requests[0].startswith(b"POST /a/b/api/2.0/mlflow/experiments/search ")
    assert tracking.requests[1].startswith(b"GET /a/b/api/2.0/mlflow-artifacts/artifacts?path=x+y ")
    assert all(b"X-MLFLOW-WORKSPACE: cellar" in request for request in tracking.requests + registry.requests)


async def test_no_redirect_carries_the_credentials_away(tmp_path: Path) -> None:
    """A server that points elsewhere gets an error, and the other place gets nothing."""
    async with scripted(NOTHING) as thief:
        moved = answer(302, more=f"Location: {thief.url}/\r\n")
        async with scripted(moved) as server, client(server.url, TOKEN) as mlflow:
            with pytest.raises(BadUpstreamResponse, match="redirect"):
                await mlflow.search_registered_models(max_results=1)
            with pytest.raises(BadUpstreamResponse, match="redirect"):
                async with mlflow.stream_artifact("a"):
                    raise AssertionError("followed")
    assert thief.requests == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not set"),
        ("sqlite:///mlflow.db", "must be an http or https address"),
        ("file:///mlruns", "must be an http or https address"),
        ("databricks", "must be an http or https address"),
        ("http://", "must be an http or https address|is not an address"),
        ("http://host:port", "is not an address"),
        ("http://user:secret@host/?a=b", "without"),
    ],
)
def test_an_address_that_is_none_says_what_to_run(text: str, says: str) -> None:
    """The message names the command and the setting, and never the password in the address."""
    with pytest.raises(ValueError, match=says) as caught:
        parse_tracking_url(text)
    assert "MLFLOW_TRACKING_URI" in str(caught.value)
    assert "secret" not in str(caught.value)
    if "without" not in says:
        assert "mlflow server --backend-store-uri" in str(caught.value)


def test_an_address_with_a_prefix_is_taken() -> None:
    """Proxies put MLflow under a path."""
    assert str(parse_tracking_url(" https://example.org/ml/flow ")) == "https://example.org/ml/flow"


async def test_a_real_server_answers_its_version(mlflow_server: MlflowServer) -> None:
    """`/version` is text that the server labels HTML."""
    async with client(mlflow_server.url) as mlflow:
        assert (await mlflow.server_version()).startswith("3.")


async def test_a_server_that_demands_credentials_is_satisfied(tmp_path: Path) -> None:
    """Without them its HTML 401 names the settings; with them JSON calls and downloads both pass."""

    async def guarded(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != basic("ann", "s3cret").decode():
            return web.Response(status=401, text="<h1>401</h1>", content_type="text/html")
        return web.json_response({"files": [{"path": "a", "is_dir": False, "file_size": "3"}]})

    app = web.Application()
    app.router.add_get("/{path:.*}", guarded)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    names = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "s3cret"}
    try:
        async with client(url, file=tmp_path / "none") as mlflow:
            with pytest.raises(BadUpstreamResponse, match="MLFLOW_TRACKING_USERNAME"):
                await mlflow.list_artifacts("x")
        async with client(url, names, file=tmp_path / "none") as mlflow:
            assert [entry.size for entry in await mlflow.list_artifacts("x")] == [3]
            async with mlflow.stream_artifact("x/a") as stream:
                assert b"files" in b"".join([chunk async for chunk in stream])
    finally:
        await runner.cleanup()


class Authority:
    """A certificate for 127.0.0.1 that nobody trusts by default, with its key in one PEM."""

    def __init__(self, folder: Path) -> None:
        self.certificate, key, self.both = (folder / name for name in ("cert.pem", "key.pem", "both.pem"))
        subject = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files],
            check=True,
            capture_output=True,
        )
        self.both.write_text(self.certificate.read_text() + key.read_text())

    def context(self, *, demands_client: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.both)
        if demands_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.certificate)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


async def _served(context: ssl.SSLContext) -> tuple[web.AppRunner, str]:
    async def version(request: web.Request) -> web.Response:
        return web.Response(text="3.0.0")

    app = web.Application()
    app.router.add_get("/version", version)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    return runner, f"https://127.0.0.1:{runner.addresses[0][1]}"


async def test_tls_is_verified_unless_told_otherwise(authority: Authority) -> None:
    """An unknown certificate is refused; the CA file or the insecure switch lets it pass."""
    runner, url = await _served(authority.context(demands_client=False))
    try:
        async with client(url) as mlflow:
            with pytest.raises(BadUpstreamResponse, match="MLFLOW_TRACKING_SERVER_CERT_PATH"):
                await mlflow.server_version()
        async with client(url, {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(authority.certificate)}) as mlflow:
            assert await mlflow.server_version() == "3.0.0"
        async with client(url, {"MLFLOW_TRACKING_INSECURE_TLS": "true"}) as mlflow:
            assert await mlflow.server_version() == "3.0.0"
    finally:
        await runner.cleanup()


async def test_the_clients_own_certificate_is_shown(authority: Authority) -> None:
    """A server that demands a certificate gets the one that is set."""
    runner, url = await _served(authority.context(demands_client=True))
    names = {
        "MLFLOW_TRACKING_SERVER_CERT_PATH": str(authority.certificate),
        "MLFLOW_TRACKING_CLIENT_CERT_PATH": str(authority.both),
    }
    try:
        async with client(url, names) as mlflow:
            assert await mlflow.server_version() == "3.0.0"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"])
def test_a_certificate_file_that_is_none_is_named(name: str, tmp_path: Path) -> None:
    """The setting is named when the client is made, not when the first call fails."""
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("not a certificate")
    with pytest.raises(ValueError, match=name):
        client("https://127.0.0.1:1", {name: str(wrong)})
