"""Proves by HTTP what a client sees of each way in which an environment can fail, caused for real."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.environments.asking import ask, details, run_gateway
from tests.environments.variants import Variants, broken_wheel
from tests.support.disks import disk as small_disk

if TYPE_CHECKING:
    from pathlib import Path

    from tests.environments.made import MadeModel
    from tests.support.mlflow_server import MlflowServer

NOWHERE = "http://127.0.0.1:9/index"  # nothing listens on the port "discard"
HOSTILE = {
    "--index-url http://user:secret@evil.example/": "'--index-url' in its requirements.txt is an option",
    "-r other.txt": "'-r' in its requirements.txt is an option",
    "-e .": "'-e' in its requirements.txt is an option",
    "git+https://evil.example/x.git": "in its requirements.txt is",
    "x @ https://evil.example/x.whl": "names an address",
    "/etc/passwd": "in its requirements.txt is",
    "../../x.whl": "in its requirements.txt is",
}


@pytest.fixture
def variants(mlflow_server: MlflowServer, tmp_path: Path) -> Variants:
    """Return the maker of versions with other requirements."""
    return Variants(mlflow_server, tmp_path / "variants")


def as_python_37(folder: Path) -> None:
    """Have a saved model say that Python 3.7 logged it."""
    for name in ("MLmodel", "python_env.yaml"):
        file = folder / name
        file.write_text(file.read_text().replace("3.10.", "3.7."))


async def test_requirements_that_cannot_be_met(
    trained: dict[str, MadeModel], variants: Variants, tmp_path: Path
) -> None:
    """Each answer is 424, soon, with the reason and without paths; other models are served beside it."""
    code = trained["mlflow219-code"].folder
    names = variants.register(
        code,
        {
            "no solution": "cloudpickle==3.1.0\nscikit-learn==1.5.2\nscikit-learn==1.1.3\n",
            "sdist only": "pyspark==3.5.3\n",
            **HOSTILE,
        },
    )
    names |= variants.register(code, {"old python": "cloudpickle==3.1.0\n"}, change=as_python_37)

    def with_broken_wheel(folder: Path) -> None:
        broken_wheel(folder / "wheels", "orjson")

    names |= variants.register(
        code, {"broken": "wheels/orjson-99.0-py3-none-any.whl\n"}, change=with_broken_wheel
    )
    expected = {
        "no solution": "requirements cannot be resolved: No solution found",
        "sdist only": "GATEWAY_ENVIRONMENT_BUILD_SDISTS",
        "old python": "workers need Python 3.10 or newer",
        "broken": "environment cannot import orjson",
        **HOSTILE,
    }
    with run_gateway(variants.server, tmp_path / "gateway") as process:
        for key, message in expected.items():
            status, answer = await ask(process.url, names[key])
            assert (status, message in answer["message"]) == (424, True), (key, answer)
            assert str(tmp_path) not in answer["message"]
            assert "secret" not in answer["message"]
            assert (await details(process.url, names[key]))["state"] in {"cold", "failed"}
        assert (await ask(process.url, "today-code"))[0] == 200


async def test_an_index_that_is_away_is_tried_again(
    trained: dict[str, MadeModel], variants: Variants, tmp_path: Path
) -> None:
    """Without index and cache a version gets 503; what is built already needs neither."""
    values = {"UV_DEFAULT_INDEX": NOWHERE, "UV_CACHE_DIR": str(tmp_path / "empty"), "UV_HTTP_RETRIES": "0"}
    with run_gateway(variants.server, tmp_path / "gateway", **values) as process:
        status, answer = await ask(process.url, "mlflow219-code")
        assert status == 503, answer
        assert "the package index does not answer" in answer["message"]
        assert NOWHERE not in answer["message"]
        assert (await ask(process.url, "today-code"))[0] == 200
    with run_gateway(variants.server, tmp_path / "gateway") as process:
        assert (await ask(process.url, "mlflow219-code"))[0] == 200
    with run_gateway(variants.server, tmp_path / "gateway", **values) as process:
        assert (await ask(process.url, "mlflow219-code"))[0] == 200


async def test_a_full_disk_is_said(
    trained: dict[str, MadeModel], mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """An environment larger than the limit, or than the disk, is 503, and leaves nothing behind."""
    folder = tmp_path / "gateway"
    with run_gateway(mlflow_server, folder, GATEWAY_ENVIRONMENTS_MAX_BYTES="1000000") as process:
        status, answer = await ask(process.url, "mlflow219-code")
        assert status == 503, answer
        assert "GATEWAY_ENVIRONMENTS_MAX_BYTES" in answer["message"]
    with small_disk(tmp_path / "disk", mebibytes=64) as disk:
        with run_gateway(mlflow_server, folder, GATEWAY_ENVIRONMENTS_DIR=str(disk)) as process:
            status, answer = await ask(process.url, "mlflow219-code")
            assert status == 503, answer
        assert list(disk.glob("*/environments/*")) == []
        assert list(disk.glob("*/partial/*")) == []
