"""`gateway check` against real servers that work, and that do not."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

from gateway import settings
from gateway.cli import check
from tests.support import mlflow_server
from tests.support.commands import gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from tests.gateway.cli.conftest import Demo


def checked(url: str, cache: Path, **values: str) -> int:
    """The status of a check of the MLflow server at `url`."""
    environ = {"MLFLOW_TRACKING_URI": url, "GATEWAY_CACHE_DIR": str(cache), **values}
    return check.run_checks(settings.load(environ))


def test_all_is_well(demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The server's version, how many models, a file really read, and a cache folder made."""
    assert checked(demo.mlflow, tmp_path / "new") == 0
    cache, mlflow, store = capsys.readouterr().out.splitlines()
    assert cache.split()[:3] == ["cache", "folder", "OK"]
    assert "version 3." in mlflow
    assert "3 models" in mlflow
    assert store.split()[:3] == ["artifact", "store", "OK"]
    assert "bytes of" in store
    assert list((tmp_path / "new").iterdir()) == []


def test_the_address_is_shown_without_its_password(
    demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed is pasted into tickets."""
    assert checked(demo.mlflow.replace("://", "://somebody:s3cr3t@"), tmp_path) == 0
    said = capsys.readouterr().out
    assert f"{demo.mlflow} answers" in said.replace("/ answers", " answers")
    assert "somebody" not in said
    assert "s3cr3t" not in said


def test_nothing_but_the_findings_is_said(tmp_path: Path) -> None:
    """No line of a log in between, which would speak of a gateway that serves."""
    extra = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "GATEWAY_CACHE_DIR": str(tmp_path)}
    done = gateway("check", cwd=tmp_path, extra=extra)
    assert (done.returncode, done.stderr) == (1, "")


def test_no_server_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens: MLflow failed with the fix, the store was not tried."""
    assert checked(f"http://127.0.0.1:{mlflow_server.free_port()}", tmp_path) == 1
    said = capsys.readouterr().out
    assert "MLflow           failed" in said
    assert "fix: see that it runs" in said
    assert "artifact store   failed  not tried" in said


def test_something_else_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A web server that is no MLflow: said so, with the fix."""
    with website() as url:
        assert checked(url, tmp_path) == 1
    said = capsys.readouterr().out
    assert "MLflow           failed" in said
    assert "fix: see that this is the server that is meant" in said


def test_store_not_allowed(demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Artifacts where the operator does not allow reading: the setting is named."""
    assert checked(demo.mlflow, tmp_path, GATEWAY_ARTIFACT_SCHEMES="s3") == 1
    said = capsys.readouterr().out
    assert "artifact store   failed" in said
    assert "fix: allow where it lies: GATEWAY_ARTIFACT_SCHEMES" in said


def test_cache_folder_cannot_be(demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cache folder that cannot be made: failed with the fix, and the rest is checked all the same."""
    (tmp_path / "file").write_text("")
    assert checked(demo.mlflow, tmp_path / "file" / "cache") == 1
    said = capsys.readouterr().out
    assert "cache folder     failed" in said
    assert "fix: make the folder writable for this user, or set GATEWAY_CACHE_DIR" in said
    assert "artifact store   OK" in said


def test_server_without_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty MLflow server is no failure; that the store was not tried is said."""
    with mlflow_server.mlflow_server(tmp_path) as server:
        assert checked(server.url, tmp_path / "cache") == 0
    said = capsys.readouterr().out
    assert "0 models" in said
    assert "not tried: there is no model version that is READY yet" in said


def test_files_that_are_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str], demo: Demo) -> None:
    """MLflow names a place where nothing is any more: failed."""
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes((demo.folder / "mlflow.db").read_bytes())
    with mlflow_server.mlflow_server(folder) as server:
        assert checked(server.url, tmp_path / "cache") == 1
    said = capsys.readouterr().out
    assert "artifact store   failed" in said
    assert "3 models" in said


@contextmanager
def website() -> Iterator[str]:
    """A web server that answers every GET with a page."""

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
