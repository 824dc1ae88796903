"""Proves what `gateway check` says of callers, of real providers and files that work, and that do not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from gateway import settings
from gateway.cli import check
from tests.support import access_files
from tests.support.issuer import Issuer, answer, jwk, rsa_key, run_issuer
from tests.support.mlflow_users import UsersServer, shared_users_server
from tests.support.tls import Pki

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

NO_SERVER = "http://127.0.0.1:9"
KEYS = "keys: []\n"

Check = Callable[..., Awaitable[list[str]]]


@pytest.fixture
def lines_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Return a function that runs the check; it returns the lines of a subject, with the fix in the last."""

    async def run(subject: str, *, url: str = NO_SERVER, **values: str) -> list[str]:
        environ = {"MLFLOW_TRACKING_URI": url, "GATEWAY_CACHE_DIR": str(tmp_path / "cache"), **values}
        await asyncio.to_thread(check.run_checks, settings.load(environ))
        output = capsys.readouterr().out.replace(f"\n{'':24} fix: ", " | ").splitlines()
        return [line.removeprefix(f"{subject:16} ") for line in output if line.startswith(f"{subject} ")]

    return run


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """Return an issuer with one key."""
    async with run_issuer() as running:
        yield running


@pytest.fixture(scope="session")
def users(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> UsersServer:
    """The MLflow server with users of the whole run."""
    return shared_users_server(tmp_path_factory)


def tokens_of(issuer: str, **values: str) -> dict[str, str]:
    """Return settings with which tokens of an issuer are accepted."""
    return {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_ISSUER": issuer, "GATEWAY_JWT_AUDIENCE": "gateway", **values}


async def test_callers_are_not_asked(lines_of: Check) -> None:
    """By default on loopback, and where the setting says so."""
    expected = ["OK      not asked (GATEWAY_AUTH=none)"]
    assert await lines_of("callers") == expected
    assert await lines_of("callers", GATEWAY_AUTH="none", GATEWAY_HOST="192.0.2.7") == expected


@pytest.mark.parametrize(
    ("auth", "host", "expected"),
    [
        ("keys", "127.0.0.1,localhost", "asked for keys (GATEWAY_AUTH)"),
        ("keys", "127.0.0.1,192.0.2.7", "asked for keys (GATEWAY_AUTH); keys come by plain HTTP, which"),
        ("keys,mlflow", "192.0.2.7", "keys, passwords come by plain HTTP, which others in the network"),
        ("mtls", "192.0.2.7", "asked for mtls (GATEWAY_AUTH)"),
    ],
)  # fmt: skip
async def test_secrets_by_plain_http(
    auth: str, host: str, expected: str, tmp_path: Path, lines_of: Check
) -> None:
    """A hint and no failure, because a proxy may be in front; certificates are no secret."""
    path = access_files.write(tmp_path / "access.yaml", KEYS)
    values = {"GATEWAY_API_KEYS_FILE": str(path), "GATEWAY_TRUSTED_PROXIES": "10.0.0.1"}
    (line,) = await lines_of("callers", GATEWAY_AUTH=auth, GATEWAY_HOST=host, **values)
    assert line.startswith("OK      asked for ")
    assert expected in line
    assert ("| set GATEWAY_TLS_CERT_FILE" in line) is ("plain HTTP" in line)


async def test_secrets_by_https(tmp_path: Path, lines_of: Check) -> None:
    """With a certificate there is nothing to warn of."""
    path = access_files.write(tmp_path / "access.yaml", KEYS)
    values = {"GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS_FILE": str(path), "GATEWAY_HOST": "192.0.2.7"}
    assert await lines_of("callers", **values, **Pki(tmp_path).environ()) == [
        "OK      asked for keys (GATEWAY_AUTH)"
    ]


async def test_keys_of_a_provider(issuer: Issuer, lines_of: Check) -> None:
    """They are fetched once, by its description of itself."""
    assert await lines_of("token keys", **tokens_of(issuer.url)) == [
        f"OK      {issuer.url} has 1 usable keys"
    ]
    assert issuer.requests == {"/.well-known/openid-configuration": 1, "/keys": 1}


async def test_a_provider_that_does_not_answer(issuer: Issuer, lines_of: Check) -> None:
    """It fails with the reason: an address without a server, another issuer's description, an error."""
    (line,) = await lines_of("token keys", **tokens_of(NO_SERVER))
    assert line.startswith("failed  not fetched: ClientConnectorError: Cannot connect to host 127.0.0.1:9")
    assert "| check GATEWAY_JWT_ISSUER, and that this machine reaches it" in line
    (line,) = await lines_of("token keys", **tokens_of(f"{issuer.url}/"))
    assert f"describes the issuer '{issuer.url}', not '{issuer.url}/'" in line
    issuer.answers["/other"] = answer(status=503)
    chosen = tokens_of(issuer.url, GATEWAY_JWT_JWKS_URL=f"{issuer.url}/other")
    (line,) = await lines_of("token keys", **chosen)
    assert line.startswith(
        f"failed  not fetched: {issuer.url}/other answered 503 | check GATEWAY_JWT_JWKS_URL"
    )


async def test_keys_that_are_not_usable(issuer: Issuer, lines_of: Check) -> None:
    """Why is said of each; it fails only if none is left."""
    issuer.keys = [jwk(rsa_key()), jwk(rsa_key("small", 1024), "b")]
    (line,) = await lines_of("token keys", **tokens_of(issuer.url))
    assert line == f"OK      {issuer.url} has 1 usable keys; not used: key 2 has 1024 bits, not 2048 to 8192"
    issuer.keys = issuer.keys[1:]
    (line,) = await lines_of("token keys", **tokens_of(issuer.url))
    assert line.startswith(f"failed  {issuer.url} has 0 usable keys; not used: key 1 has 1024 bits")
    assert "| check GATEWAY_JWT_ISSUER and GATEWAY_JWT_ALGORITHMS" in line


async def test_an_mlflow_server_that_asks(users: UsersServer, lines_of: Check) -> None:
    """Asked without the gateway's own account, which has rights."""
    own = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "password-of-admin"}
    assert await lines_of("MLflow users", url=users.url, GATEWAY_AUTH="mlflow", **own) == [
        "OK      MLflow asks callers for credentials"
    ]


async def test_an_mlflow_server_that_does_not_ask(mlflow_server: MlflowServer, lines_of: Check) -> None:
    """It fails, because the gateway would refuse every caller; so does a server that is away."""
    assert await lines_of("MLflow users", url=mlflow_server.url) == []
    (line,) = await lines_of("MLflow users", url=mlflow_server.url, GATEWAY_AUTH="mlflow")
    assert line.startswith(
        "failed  MLflow answers callers without credentials | start it with --app-name basic-"
    )
    (line,) = await lines_of("MLflow users", GATEWAY_AUTH="mlflow")
    assert line.startswith("failed  MLflow cannot be asked about callers: ")


async def test_principals_of_another_issuer(issuer: Issuer, tmp_path: Path, lines_of: Check) -> None:
    """They never come: one line for each issuer, and a slash too much is named."""
    names = [
        "jwt:{0}|sub:ann",
        "jwt:{0}/|sub:ben",
        "jwt:{0}/|group:ops",
        "jwt:https://b.example.org",
        "mtls:a",
    ]
    text = "principals:\n" + "".join(f"  '{name}': {{grants: {{read: '*'}}}}\n" for name in names)
    path = access_files.write(tmp_path / "access.yaml", text.replace("{0}", issuer.url))
    chosen = {"GATEWAY_API_KEYS_FILE": str(path)}
    _, *lines = await lines_of("access file", **tokens_of(issuer.url, **chosen))
    why = f"have no effect, because GATEWAY_JWT_ISSUER is {issuer.url}"
    assert lines == [
        f"OK      2 principals of jwt:'{issuer.url}/' {why}: they must agree in the slash at the end",
        f"OK      1 principals of jwt:'https://b.example.org' {why}",
    ]
    _, *lines = await lines_of("access file", GATEWAY_AUTH="keys", **chosen)
    assert len(lines) == 3
    assert all(line.endswith("because GATEWAY_AUTH does not have jwt") for line in lines)


async def test_an_access_file_that_is_missing(tmp_path: Path, lines_of: Check) -> None:
    """The fix is the command that makes one."""
    path = tmp_path / "access.yaml"
    (line,) = await lines_of("access file", GATEWAY_AUTH="keys", GATEWAY_API_KEYS_FILE=str(path))
    reason, _, fix = line.partition(" | ")
    assert reason == f"failed  {path} cannot be read: No such file or directory"
    assert fix == "`gateway key new ID --grant … --add` makes it"


async def test_an_audit_log(tmp_path: Path, lines_of: Check) -> None:
    """It can be written whether or not it exists; nothing is left of the attempt, through a link too."""
    path, link = tmp_path / "audit.log", tmp_path / "link"
    link.symlink_to(path)
    for log in (path, link):
        assert await lines_of("audit log", GATEWAY_AUDIT_LOG=str(log)) == [f"OK      {log} can be written"]
        assert not path.exists()
    assert link.is_symlink()
    path.write_text("a line\n")
    assert await lines_of("audit log", GATEWAY_AUDIT_LOG=str(path)) == [f"OK      {path} can be written"]
    assert path.read_text() == "a line\n"
    assert await lines_of("audit log", GATEWAY_AUDIT_LOG="stderr") == ["OK      goes to standard error"]
    assert await lines_of("audit log") == []


async def test_an_audit_log_that_cannot_be_written(tmp_path: Path, lines_of: Check) -> None:
    """A folder, a file in none, and a pipe without a reader, which must not block."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in (
        (tmp_path, "Is a directory"),
        (tmp_path / "none" / "audit.log", "No such file or directory"),
        (pipe, "No such device or address"),
    ):
        (line,) = await lines_of("audit log", GATEWAY_AUDIT_LOG=str(path))
        assert line.startswith(f"failed  {path}: {reason} | set GATEWAY_AUDIT_LOG to a file in a folder that")
