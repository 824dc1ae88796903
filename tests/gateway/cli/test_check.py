"""Proves what `gateway check` says of real servers that work, and of those that do not."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from gateway import settings
from gateway.auth.access_file.key import new_key
from gateway.cli import check
from tests.support import access_files, mlflow_server, ordinary_user
from tests.support.commands import gateway
from tests.support.tls import Pki

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.gateway.cli.conftest import Demo


def run_check(url: str, cache: Path, **values: str) -> int:
    """Check the MLflow server at `url`, and return the status."""
    environ = {"MLFLOW_TRACKING_URI": url, "GATEWAY_CACHE_DIR": str(cache), **values}
    return check.run_checks(settings.load(environ))


def test_all_checks_pass(demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the server's version and the number of models, reads a file, and creates the cache folder."""
    assert run_check(demo.mlflow, tmp_path / "new") == 0
    output = capsys.readouterr().out.splitlines()
    names, callers, addresses, cache, wall = output[-10:-5]  # before them, what it says of root
    environments, pythons, folder, mlflow, store = output[-5:]
    assert [line.split()[0] for line in output[:-10]] == (["user", "fix:"] if os.geteuid() == 0 else [])
    assert "clients may use IP addresses, localhost (GATEWAY_ALLOWED_HOSTS)" in names
    assert callers == "callers          OK      not asked (GATEWAY_AUTH=none)"
    assert addresses.split() == ["addresses", "OK", "127.0.0.1", "can", "be", "listened", "on"]
    assert cache.split()[:3] == ["cache", "folder", "OK"]
    assert wall.split()[:4] == ["wall", "OK", "Workers", "are"]
    assert environments.startswith("environments     OK      needed: built by uv ")
    assert f"{sys.version_info.major}.{sys.version_info.minor} (" in pythons
    assert "shares files with uv's cache" in folder
    assert "version 3." in mlflow
    assert re.search(r"\b[34] models", mlflow)  # another test registers one more
    assert store.split()[:3] == ["artifact", "store", "OK"]
    assert "bytes of" in store
    assert list((tmp_path / "new").iterdir()) == []


def test_the_address_is_shown_without_its_password(
    demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Users paste the output into issues."""
    assert run_check(demo.mlflow.replace("://", "://user:s3cr3t@"), tmp_path) == 0
    output = capsys.readouterr().out
    assert f"{demo.mlflow} answers" in output.replace("/ answers", " answers")
    assert "//user" not in output
    assert "s3cr3t" not in output


def test_nothing_but_the_results_is_printed(tmp_path: Path) -> None:
    """No line of the log, which is about a gateway that serves."""
    extra = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "GATEWAY_CACHE_DIR": str(tmp_path)}
    done = gateway("check", cwd=tmp_path, extra=extra)
    assert (done.returncode, done.stderr) == (1, "")


def test_service_links_and_a_foreign_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Variables of Kubernetes are no failure, but have a fix; an address of another machine is one."""
    links = {"GATEWAY_PORT": "tcp://10.0.0.1:80", "GATEWAY_HOST": "192.0.2.250", "GATEWAY_AUTH": "none"}
    assert run_check("http://127.0.0.1:9", tmp_path, **links) == 1
    output = capsys.readouterr().out
    assert (
        "settings         OK      ignored 1 variables that Kubernetes set for Services: GATEWAY_PORT"
        in output
    )
    assert "fix: set enableServiceLinks: false" in output
    assert "addresses        failed  192.0.2.250: GATEWAY_HOST names an address" in output
    assert "fix: set GATEWAY_HOST" in output


def test_files_that_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of the home folder that others can write is named, and is no failure by itself."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / ".netrc").touch()
    (tmp_path / ".netrc").chmod(0o666)
    run_check("http://127.0.0.1:9", tmp_path)
    assert f"credentials      OK      {tmp_path}/.netrc is not used: other" in capsys.readouterr().out


def test_its_secrets_are_hidden(tmp_path: Path) -> None:
    """From its first moments on: here it waits for a server that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        secret = {"MLFLOW_TRACKING_TOKEN": "hunter2", "MLFLOW_TRACKING_URI": url}
        with subprocess.Popen(
            [sys.executable, "-m", "gateway", "check"],
            env=mlflow_server.environment(secret | {"GATEWAY_CACHE_DIR": str(tmp_path)}),
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            preexec_fn=ordinary_user.drop_capabilities,  # noqa: PLW1509 - no thread holds a lock that it needs
        ) as process:
            connection, _ = silent.accept()
            with connection, ordinary_user.start("spies", str(process.pid)) as spy:
                found = json.loads(spy.communicate()[0])
            process.kill()
    assert (found["environ"], found["memory"]) == ("PermissionError", "PermissionError")


def test_no_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MLflow fails with a fix, and the store is not tried."""
    assert run_check("http://127.0.0.1:9", tmp_path) == 1
    output = capsys.readouterr().out
    assert "MLflow           failed" in output
    assert "fix: check that it runs" in output
    assert "artifact store   failed  not tried" in output


def test_the_access_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it has, what has expired, and otherwise every problem with its line."""
    key = new_key()[0]
    text = "keys:\n" + access_files.entry(key, "old", "expires: 2020-01-01", "grants: {}")
    path = access_files.write(tmp_path / "access.yaml", text)
    chosen = {"GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS_FILE": str(path)}
    assert run_check("http://127.0.0.1:9", tmp_path / "cache", **chosen) == 1
    output = capsys.readouterr().out
    assert f"access file      OK      {path}: 1 keys, 0 roles, 0 principals" in output
    assert "access file      OK      line 4: key 1 (old) has expired" in output
    path.write_text("rolls: 1\nkeys: 1\n")
    assert run_check("http://127.0.0.1:9", tmp_path / "cache", **chosen) == 1
    output = capsys.readouterr().out
    assert "access file      failed  line 1: there is no section 'rolls'" in output
    assert "access file      failed  line 2: keys must be a list" in output


def test_another_web_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A web server that is no MLflow server fails with a fix."""
    with website() as url:
        assert run_check(url, tmp_path) == 1
    output = capsys.readouterr().out
    assert "MLflow           failed" in output
    assert "fix: check the server's address" in output


def test_store_not_allowed(demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Artifacts at a location that the settings do not allow: the fix names the setting."""
    assert run_check(demo.mlflow, tmp_path, GATEWAY_ARTIFACT_SCHEMES="s3") == 1
    output = capsys.readouterr().out
    assert "artifact store   failed" in output
    assert "fix: allow its location: GATEWAY_ARTIFACT_SCHEMES" in output


def test_cache_folder_that_cannot_be_created(
    demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It fails with a fix, and the rest is checked."""
    (tmp_path / "file").write_text("")
    assert run_check(demo.mlflow, tmp_path / "file" / "cache") == 1
    output = capsys.readouterr().out
    assert "cache folder     failed" in output
    assert "fix: make the folder writable for this user, or set GATEWAY_CACHE_DIR" in output
    assert "artifact store   OK" in output


@pytest.mark.slow
def test_server_without_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty MLflow server is no failure; the store is not tried."""
    with mlflow_server.mlflow_server(tmp_path) as server:
        assert run_check(server.url, tmp_path / "cache") == 0
    output = capsys.readouterr().out
    assert "0 models" in output
    assert "not tried: no model version is READY yet" in output


@pytest.mark.slow
def test_deleted_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], demo: Demo) -> None:
    """MLflow names a location without files: the store fails."""
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes((demo.folder / "mlflow.db").read_bytes())
    with mlflow_server.mlflow_server(folder) as server:
        assert run_check(server.url, tmp_path / "cache") == 1
    output = capsys.readouterr().out
    assert "artifact store   failed" in output
    assert re.search(r"\b[34] models", output)


@contextmanager
def website() -> Iterator[str]:
    """Yield the address of a web server that answers every GET with a page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<h1>Welcome</h1>")

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class' name
            return

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says until when the certificate is valid and what is wrong with its files."""
    pki = Pki(tmp_path)

    def line() -> str:
        run_check("http://127.0.0.1:1", tmp_path / "cache", **pki.environ("optional"))
        return capsys.readouterr().out.partition("\nTLS ")[2].partition("\ncache ")[0]

    assert re.search(
        r"OK +certificate for localhost, 127.0.0.1, until .*its key fits; clients may show", line()
    )
    pki.write_server(expires=datetime.now(UTC) + timedelta(days=5))
    assert line().endswith("fix: renew the certificate")
    pki.key.chmod(0o644)
    assert re.search(r"failed +GATEWAY_TLS_KEY_FILE: the file is not used: others can read it", line())
