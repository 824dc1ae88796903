"""Proves what the demo says of callers before it starts anything, and beside the calls to try."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from gateway import settings
from gateway.auth.access_file.key import new_key
from gateway.cli.demo.callers import call_hints
from gateway.cli.demo.examples import example_calls
from tests.gateway.cli.conftest import START_SECONDS
from tests.support import access_files
from tests.support.commands import gateway, running
from tests.support.tls import Pki

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.cli.conftest import Demo

BEARER = '`-H "Authorization: Bearer'
JWT = {"GATEWAY_JWT_ISSUER": "https://a.example.org", "GATEWAY_JWT_AUDIENCE": "gateway"}


def hints(**values: str) -> list[str]:
    """Return what is said beside the calls."""
    return list(call_hints(settings.load({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", **values})))


def refused(folder: Path, **values: str) -> str:
    """Run the demo, which must start nothing and make no folder; return what it says."""
    done = gateway("demo", "--folder", "data", cwd=folder, extra=values)
    assert (done.returncode, done.stdout) == (2, "")
    assert not (folder / "data").exists()
    return done.stderr


def test_users_that_its_server_does_not_have(tmp_path: Path) -> None:
    """No caller could get in."""
    problem = "gateway: GATEWAY_AUTH: has mlflow, but the demo's own MLflow server has no users: leave it out"
    assert problem in refused(tmp_path, GATEWAY_AUTH="mlflow")


def test_an_access_file_that_cannot_be_used(tmp_path: Path) -> None:
    """It ends as `serve` does: before the training, with each problem, or the command that makes the file."""
    path = tmp_path / "access.yaml"
    chosen = {"GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS_FILE": str(path)}
    assert "directory; `gateway key new ID --grant … --add` makes it\n" in refused(tmp_path, **chosen)
    access_files.write(path, "rolls: 1\n")
    assert "GATEWAY_API_KEYS_FILE: line 1: there is no section 'rolls'" in refused(tmp_path, **chosen)


def test_what_each_kind_of_caller_adds(tmp_path: Path) -> None:
    """Nothing where no caller is asked; else a line with an option for each kind."""
    path = access_files.write(tmp_path / "access.yaml", "keys: []\n")
    keys = {"GATEWAY_API_KEYS_FILE": str(path)}
    assert hints() == hints(GATEWAY_AUTH="none") == []
    (line,) = hints(GATEWAY_AUTH="keys", **keys)
    assert line.startswith(
        f"These calls get 401 as they are, because GATEWAY_AUTH is keys: add {BEARER} $KEY"
    )
    (line,) = hints(GATEWAY_AUTH="jwt", **JWT)
    assert f"because GATEWAY_AUTH is jwt: add {BEARER} $TOKEN" in line
    (line,) = hints(GATEWAY_AUTH="mtls", GATEWAY_TRUSTED_PROXIES="127.0.0.1")
    assert "because GATEWAY_AUTH is mtls: add `--cert FILE --key FILE`" in line
    (line,) = hints(GATEWAY_AUTH="keys,jwt", **keys, **JWT)
    assert f"because GATEWAY_AUTH is keys, jwt: add {BEARER} $KEY" in line
    assert f"; or {BEARER} $TOKEN" in line


def test_https(tmp_path: Path) -> None:
    """The authority is needed, and a certificate where every connection must show one."""
    pki = Pki(tmp_path)
    (line,) = hints(**pki.environ("optional"))
    assert "add `--cacert FILE` with the authority of its certificate" in line
    _, line = hints(**pki.environ("required"))
    assert line.startswith("GATEWAY_TLS_CLIENT is required: add `--cert FILE --key FILE`")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_calls_work_with_what_is_said(demo: Demo, tmp_path: Path) -> None:
    """As printed they get 401 by https; with the options of the hints, the printed status."""
    shutil.copytree(demo.folder, tmp_path / "demo-data")
    pki, key = Pki(tmp_path), new_key()[0]
    authority = tmp_path / "authority.pem"
    authority.write_bytes(pki.servers.cert_pem.bytes())
    grants = "grants: {read: '*', invoke: '*'}"
    file = access_files.write(tmp_path / "access.yaml", f"keys:\n{access_files.entry(key, 'me', grants)}")
    extra = {"GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS_FILE": str(file), "GATEWAY_PRELOAD": "none"}
    with running(
        *("demo", "--port", "0", "--mlflow-port", "0"), cwd=tmp_path, extra={**extra, **pki.environ()}
    ) as command:
        base = command.wait_for("ready: ", within=START_SECONDS).split()[-4].rstrip(",")
        command.wait_for("To stop: ")
        assert base.startswith("https://")
        first = command.output.index(example_calls(base)[0].what)
        assert 0 < command.output.index('add `-H "Authorization: Bearer $KEY"`') < first
        assert 0 < command.output.index("add `--cacert FILE`") < first
        trusted = f"--cacert {shlex.quote(str(authority))}"
        for call in example_calls(base):
            line = call.command
            keyed = f'{trusted} -H "Authorization: Bearer $KEY"'
            for added, status in ((trusted, "401"), (keyed, str(call.status))):
                done = subprocess.run(
                    ["bash", "-c", f"{line} {added} -o /dev/null -w '%{{http_code}}'"],
                    env={"KEY": key},
                    capture_output=True,
                    text=True,
                    check=True,
                    timeout=60,
                )
                assert (line, done.stdout) == (line, status)
        assert command.end() == 0
