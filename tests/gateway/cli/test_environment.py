"""Proves what `gateway environment` says of a version of a real MLflow server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.cli.main import main
from gateway.system.programs import find_uv
from tests.gateway.environments.conftest import fill
from tests.gateway.serving.test_service import registered_again
from tests.support.package_index import serve_index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer
    from tests.support.package_index import PackageIndex

pytestmark = pytest.mark.skipif(find_uv() is None, reason="uv is not installed")


@pytest.fixture
def index(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PackageIndex]:
    """An index that has what every environment needs; the settings name it, and the MLflow server."""
    with serve_index(tmp_path / "index") as served:
        fill(served)
        monkeypatch.chdir(tmp_path)
        for name, value in {
            "MLFLOW_TRACKING_URI": mlflow_server.url,
            "GATEWAY_CACHE_DIR": str(tmp_path / "cache"),
            "GATEWAY_ENVIRONMENTS": "needed",
            "GATEWAY_ENVIRONMENT_AS_LOGGED": "false",
            "UV_DEFAULT_INDEX": served.url,
            "UV_HTTP_RETRIES": "0",
        }.items():
            monkeypatch.setenv(name, value)
        yield served


def tagged(server: MlflowServer) -> str:
    """Return the name of a model whose version says that it needs an environment."""
    return registered_again(server, "api-tens", gateway_environment="own")


def require_of(index: PackageIndex, output: str) -> None:
    """Add to the index what the version requires, as `show` has printed it."""
    for line in output.splitlines():
        if line.strip().startswith("requires") and "==" in line:
            name, _, number = line.split()[1].partition("==")
            index.add(name, number)


def test_a_version_that_needs_none(
    index: PackageIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command says so, and none makes anything."""
    for command in (["show"], ["lock"], ["build"], ["export", "--folder", str(tmp_path / "wheels")]):
        assert main(["environment", command[0], "api-tens/1", *command[1:]]) == 0
        assert "needs no environment of its own" in capsys.readouterr().out
    assert index.requests == []
    assert not (tmp_path / "wheels").exists()


@pytest.mark.slow
def test_show_lock_build_and_export(
    index: PackageIndex, mlflow_server: MlflowServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Show says what is needed; lock prints or writes it; build makes it; export has its wheels."""
    ref = f"{tagged(mlflow_server)}/1"
    assert main(["environment", "show", ref]) == 0
    shown = capsys.readouterr().out
    assert "needs an environment of its own" in shown
    require_of(index, shown)
    assert main(["environment", "lock", ref]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.removeprefix("# ").removesuffix(".txt") in shown
    assert any(line.startswith("mlflow-skinny==") for line in lines)
    assert any("--hash=sha256:" in line for line in lines)
    (tmp_path / "locks").mkdir()
    assert main(["environment", "lock", ref, "--folder", str(tmp_path / "locks")]) == 0
    assert [path.name for path in (tmp_path / "locks").iterdir()] == [first.removeprefix("# ")]
    assert main(["environment", "build", ref]) == 0
    assert main(["environment", "export", ref, "--folder", str(tmp_path / "wheels")]) == 0
    assert list((tmp_path / "wheels").glob("mlflow_skinny-*.whl"))
    capsys.readouterr()
    assert main(["environment", "show", ref]) == 0
    assert "packages; built" in capsys.readouterr().out


@pytest.mark.parametrize("ref", ["absent/1", "api-tens/99"])
def test_what_does_not_exist_is_said(
    index: PackageIndex, ref: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is 1, and the error one line."""
    assert main(["environment", "show", ref]) == 1
    assert capsys.readouterr().err.startswith("gateway: ")
    assert index.requests == []


def test_a_wrong_name_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """It says which forms there are."""
    with pytest.raises(SystemExit) as ended:
        main(["environment", "build", "wine"])
    assert ended.value.code == 2
    assert "name@alias" in capsys.readouterr().err
