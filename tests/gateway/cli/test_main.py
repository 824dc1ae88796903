"""Proves what the commands do, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from gateway import settings
from gateway.cli import main
from tests.support.commands import descendants, gateway, running, still_running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the distribution and its version."""
    with pytest.raises(SystemExit) as caught:
        main.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.split() == [main.DISTRIBUTION, version(main.DISTRIBUTION)]


@pytest.mark.parametrize("command", ["serve", "demo", "check"])
def test_help_lists_every_setting(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command's help has all settings."""
    with pytest.raises(SystemExit) as caught:
        main.main([command, "--help"])
    output = capsys.readouterr().out
    assert caught.value.code == 0
    assert [name for name in settings.env_names() if name not in output] == []


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`gateway --help` lists the commands, and so does `gateway` alone, which is no error."""
    with pytest.raises(SystemExit):
        main.main(["--help"])
    output = capsys.readouterr().out
    assert all(f"\n    {command} " in output for command in ("serve", "demo", "check"))
    assert main.main([]) == 0
    assert capsys.readouterr().out == output


@pytest.mark.parametrize(
    ("program", "shown"),
    [("/bin/gateway", "gateway"), (f"/bin/{main.DISTRIBUTION}", main.DISTRIBUTION), ("-c", "gateway")],
)
def test_the_usage_has_the_name_of_the_script(
    program: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There are two scripts; `python -m gateway` counts as the short one."""
    monkeypatch.setattr("sys.argv", [program])
    assert main.main([]) == 0
    assert capsys.readouterr().out.startswith(f"usage: {shown} [-h]")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["serv"], "serv"), (["demo", "--port", "70000"], "'70000' is not a port")],
)
def test_wrong_arguments(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and the reason on standard error."""
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "demo", "check"])
def test_wrong_settings_start_nothing(command: str, tmp_path: Path) -> None:
    """Each wrong setting is on a line of its own, from the environment and from `.env`; status 2."""
    (tmp_path / ".env").write_text("GATEWAY_PORT=eighty\n")
    done = gateway(command, cwd=tmp_path, extra={"GATEWAY_PROT": "80"})
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert "gateway: GATEWAY_PROT: there is no such setting; is GATEWAY_PORT meant?" in lines
    assert any(line.startswith("gateway: GATEWAY_PORT: ") for line in lines)
    assert "Traceback" not in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == [".env"]


@pytest.mark.parametrize("command", ["serve", "check"])
def test_wrong_addresses_are_reported_with_the_rest(command: str, tmp_path: Path) -> None:
    """Those of both of MLflow's servers, a broken line of `.env` and a wrong value: all at once."""
    (tmp_path / ".env").write_text("GATEWAY_HOST\tnowhere\n")
    extra = {"MLFLOW_TRACKING_URI": "sqlite:///x.db", "MLFLOW_REGISTRY_URI": "uc", "GATEWAY_PORT": "eighty"}
    done = gateway(command, cwd=tmp_path, extra=extra)
    assert done.returncode == 2
    names = [line.split()[1].rstrip(":") for line in done.stderr.splitlines()[1:-1]]
    assert sorted(names) == [".env", "GATEWAY_PORT", "MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"]


def test_a_cache_folder_that_cannot_be_created(tmp_path: Path) -> None:
    """Nothing is started; one line has the setting, the path and the reason; status 2."""
    (tmp_path / "file").write_bytes(b"")
    extra = {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
        "GATEWAY_CACHE_DIR": str(tmp_path / "file"),
        "GATEWAY_PORT": "0",
    }
    done = gateway("serve", cwd=tmp_path, extra=extra)
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()
    assert "GATEWAY_CACHE_DIR" in line
    assert str(tmp_path / "file") in line
    assert "File exists" in line or "Not a directory" in line


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize("uri", ["", "sqlite:///mlflow.db", "./mlruns"])
def test_no_server_named(command: str, uri: str, tmp_path: Path) -> None:
    """Without an http address of an MLflow server: the error names commands that bring one; status 2."""
    done = gateway(command, cwd=tmp_path, extra={"MLFLOW_TRACKING_URI": uri})
    assert done.returncode == 2
    assert "mlflow server" in done.stderr
    assert "gateway demo" in done.stderr


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="the warning is for root on Linux")
def test_root_is_warned(tmp_path: Path) -> None:
    """Once at the start, whatever happens then."""
    extra = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "GATEWAY_CACHE_DIR": "/dev/null"}
    done = gateway("serve", cwd=tmp_path, extra=extra)
    (record,) = (json.loads(line) for line in done.stderr.splitlines() if "privileged_user" in line)
    assert record["level"] == "warning"
    assert record["message"].startswith(
        "The gateway runs as root (uid 0): models can read its memory and env"
    )
    assert "a user of its own" in record["message"]


@pytest.mark.parametrize("command", ["serve", "check", "demo"])
def test_settings_of_a_model_start_nothing(command: str, tmp_path: Path) -> None:
    """`.env` in the folder for temporary files, where models write too, is a problem and is not read."""
    (tmp_path / ".env").write_text("GATEWAY_PORT=1\n")
    done = gateway(command, cwd=tmp_path, extra={"TMPDIR": str(tmp_path)})
    assert done.returncode == 2
    assert f"gateway: .env is not read: {tmp_path} is for temporary files" in done.stderr


def test_serve_until_a_signal(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """`serve` reads its settings from `.env`, answers, and leaves no process behind after SIGTERM."""
    lines = [
        f"MLFLOW_TRACKING_URI={mlflow_server.url}",
        f"GATEWAY_CACHE_DIR={tmp_path / 'cache'}",
        "GATEWAY_PORT=0",
        "GATEWAY_LOG_FORMAT=text",
    ]
    (tmp_path / ".env").write_text("\n".join(lines))
    with running("serve", cwd=tmp_path) as command:
        address = command.wait_for("Listening on ").split("Listening on ")[1].split()[0]
        with urllib.request.urlopen(f"{address}/health/live", timeout=60) as response:  # noqa: S310 - http
            assert response.status == 200
        below = descendants(command.process.pid)
        assert command.end() == 0
    assert still_running(below) == set()


def test_serve_on_a_taken_port(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """Another program has the port: status 1, and the error names the port."""
    port = mlflow_server.url.rpartition(":")[2]
    extra = {
        "MLFLOW_TRACKING_URI": mlflow_server.url,
        "GATEWAY_CACHE_DIR": str(tmp_path),
        "GATEWAY_PORT": port,
    }
    done = gateway("serve", cwd=tmp_path, extra=extra)
    assert done.returncode == 1
    assert port in done.stderr
    assert "Traceback" not in done.stderr


MLFLOW = ["mlflow", "pandas", "numpy", "sklearn", "gateway.cli.demo.training"]
S3 = ["aiobotocore", "botocore"]
GATEWAY_ALONE = ["gateway.app", "gateway.api.routes", "jinja2", "aiohttp.web", "prometheus_client"]


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        ("gateway.__main__", ["gateway.cli.main", "aiohttp", "pydantic", "asyncio"]),
        ("gateway.server.supervisor, gateway.server.local_node_process", [*MLFLOW, *S3, "cryptography"]),
        (
            "gateway.cli.main, gateway.cli.node, gateway.server.node_process",
            [*MLFLOW, *S3, *GATEWAY_ALONE, "cryptography"],
        ),
    ],
    ids=["worker", "gateway", "node"],
)
def test_imports_stay_small(modules: str, unwanted: list[str]) -> None:
    """Each worker imports `gateway.__main__` again, and what the others import stays in their memory."""
    code = f"import {modules}, sys; print([name for name in {unwanted} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_imports_start_no_thread() -> None:
    """Gateway processes are forks of one that has imported all this, and a fork has no such thread."""
    modules = "gateway.cli.main, gateway.server.supervisor, gateway.server.local_node_process"
    code = f"import {modules}, os; print(os.listdir('/proc/self/task') == [str(os.getpid())])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "True"
