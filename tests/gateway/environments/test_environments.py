"""Proves when a version gets an environment, that it has what is required, and that it is built once."""

from __future__ import annotations

import asyncio
import json
import pickle
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import cloudpickle
import pytest

from gateway.environments.environments import BUILDS
from gateway.environments.recipe import own_minor
from gateway.errors import EnvironmentRefused, EnvironmentUnfinished, UpstreamUnavailable
from tests.gateway.environments.conftest import version
from tests.support.package_index import make_wheel
from tests.support.waiting import until
from workers.metrics import Counters

if TYPE_CHECKING:
    from tests.gateway.environments.conftest import Harness
    from workers.worker_environment import WorkerEnvironment

IN_2023 = datetime(2023, 5, 10, tzinfo=UTC)


def versions_in(environment: WorkerEnvironment) -> dict[str, str]:
    """Return what the environment's own interpreter finds."""
    code = (
        "import json; from importlib.metadata import distributions as all_of;"
        "print(json.dumps({one.metadata['Name']: one.version for one in all_of()}))"
    )
    output = subprocess.run([environment.python, "-I", "-c", code], capture_output=True, check=True)
    found: dict[str, str] = json.loads(output.stdout)
    return found


async def test_a_version_with_other_requirements_gets_them(harness: Harness) -> None:
    """It has the version's libraries as of the month in which it was logged, and the gateway's own MLflow."""
    wanted = harness.require("mlflow==2.1", "learner==1.5.2", logged_at=IN_2023)
    environments = harness.open_with()
    await environments.open()
    async with environments.lease(wanted) as environment:
        assert environment is not None
        found = versions_in(environment)
    assert (found["learner"], found["helper"], found["numpy"]) == ("1.5.2", "1.0", "1.26.4")
    assert "mlflow" not in found
    assert found.keys() >= {"mlflow-skinny", "pandas", "pyarrow", "orjson", "pydantic", "pysimdjson"}
    state = environments.state(wanted.key)
    assert state is not None
    assert (state.state, state.digest, state.python) == ("ready", environment.digest, own_minor())
    assert harness.partial() == []


async def test_a_version_whose_requirements_are_here_gets_none(harness: Harness) -> None:
    """Equal major.minor versions are enough; MLflow's own version does not count."""
    wanted = harness.require("mlflow==2.1", "scikit-learn==1.9.0", "numpy>=2")
    environments = harness.open_with()
    await environments.open()
    async with environments.lease(wanted) as environment:
        assert environment is None
    state = environments.state(wanted.key)
    assert state is not None
    assert state.state == "shared"


async def test_twenty_askers_cause_one_build(harness: Harness) -> None:
    """Versions with equal locks share one environment, also if they ask for it at the same moment."""
    counters = Counters()
    environments = harness.open_with(counters)
    await environments.open()
    wanted = [
        harness.require("learner==1.5.2", f"# {number}", name=f"m{number}", logged_at=IN_2023)
        for number in range(20)
    ]

    async def ask(number: int) -> str:
        async with environments.lease(wanted[number]) as environment:
            assert environment is not None
            return environment.digest

    digests = await asyncio.gather(*map(ask, range(20)))
    assert len(set(digests)) == 1
    assert harness.built() == [digests[0]]
    assert counters.value(BUILDS, "ok") == 1


async def test_an_environment_that_is_there_asks_no_index(harness: Harness) -> None:
    """A restarted gateway leases it while the index is away; a removed one is built again from uv's cache."""
    wanted = harness.require("learner==1.5.2", logged_at=IN_2023)
    for _ in range(2):
        environments = harness.open_with()
        await environments.open()
        async with environments.lease(wanted) as environment:
            assert environment is not None
        harness.index.away = True
    asked = len(harness.index.requests)
    (built,) = harness.built()
    shutil.rmtree(harness.root / "environments" / built)
    async with environments.lease(wanted) as environment:
        assert environment is not None
    assert len(harness.index.requests) == asked


async def test_an_index_that_is_away_is_told_and_asked_again(harness: Harness) -> None:
    """The error names neither the index nor its password; nothing is left behind."""
    wanted = harness.require("learner==1.5.2")
    environments = harness.open_with()
    await environments.open()
    harness.index.away = True
    with pytest.raises(UpstreamUnavailable, match="package index does not answer") as caught:
        async with environments.lease(wanted):
            pass
    assert "127.0.0.1" not in str(caught.value)
    assert harness.built() == harness.partial() == []
    harness.index.away = False
    environments = harness.open_with()
    await environments.open()
    async with environments.lease(wanted) as environment:
        assert environment is not None


async def test_no_solution_is_remembered(harness: Harness) -> None:
    """The client reads which package is the problem; the next request does not start uv again."""
    wanted = harness.require("learner==9.9")
    environments = harness.open_with()
    await environments.open()
    for _ in range(2):
        with pytest.raises(EnvironmentRefused, match=r"learner"):
            async with environments.lease(wanted):
                pass
    assert harness.source.reads == 1
    state = environments.state(wanted.key)
    assert state is not None
    assert (state.state, "learner" in state.reason) == ("failed", True)


async def test_a_package_without_wheel_names_the_setting(harness: Harness) -> None:
    """A source distribution is not built unless the operator says so."""
    harness.index.add_sdist("onlysource", "1.0")
    environments = harness.open_with()
    await environments.open()
    wanted = harness.require("onlysource==1.0")
    with pytest.raises(EnvironmentRefused, match="GATEWAY_ENVIRONMENT_BUILD_SDISTS"):
        async with environments.lease(wanted):
            pass
    environments = harness.open_with(GATEWAY_ENVIRONMENT_BUILD_SDISTS="true")
    async with environments.lease(wanted) as environment:
        assert environment is not None
        assert versions_in(environment)["onlysource"] == "1.0"


async def test_pickled_functions_need_their_own_python(harness: Harness) -> None:
    """Where the Python is not here, an estimator gets another one, but not if it has functions in it."""
    data = harness.source.folder_path / "model.pkl"
    environments = harness.open_with(GATEWAY_PYTHONS=sys.executable)
    await environments.open()
    data.write_bytes(pickle.dumps({"weights": [1.0]}))
    wanted = harness.require("learner==1.5.2", python_version="3.99.0")
    assert await environments.prepare(wanted) is not None
    data.write_bytes(cloudpickle.dumps(lambda row: row + 1))
    with pytest.raises(EnvironmentRefused, match=r"logged with Python 3\.99"):
        await environments.prepare(wanted)


async def test_an_index_without_upload_times_is_noticed(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    """Its packages are resolved as of today, and the log says so."""
    harness.index.upload_times = False
    environments = harness.open_with()
    await environments.open()
    async with environments.lease(harness.require("learner==1.5.2", logged_at=IN_2023)) as environment:
        assert environment is not None
        assert versions_in(environment)["helper"] == "2.0"
    (line,) = [record for record in caplog.records if record.__dict__.get("event") == "environment_undated"]
    assert "does not tell when packages were uploaded" in line.getMessage()


async def test_a_build_tells_its_progress(harness: Harness) -> None:
    """While the index keeps a download waiting, a request can be answered with how far the build is."""
    wanted = harness.require("learner==1.5.2")
    environments = harness.open_with()
    await environments.open()
    assert environments.state(wanted.key) is None

    async def lease() -> None:
        async with environments.lease(wanted):
            pass

    harness.index.released.clear()
    task = asyncio.create_task(lease())
    await until(lambda: environments.state(wanted.key) is not None)
    found = environments.find("wine", "1")
    assert found is not None
    with pytest.raises(EnvironmentUnfinished, match="its environment is being built"):
        found.raise_if_building()
    assert found.state == "building"
    assert environments.find("wine", "2") is None
    harness.index.released.set()
    await task
    ready = environments.find("wine", "1")
    assert ready is not None
    ready.raise_if_building()
    assert found is not ready == environments.state(wanted.key)


async def test_a_cancelled_build_leaves_nothing(harness: Harness) -> None:
    """uv and all that it started have ended when the caller goes on, and the folder is gone."""
    wanted = harness.require("learner==1.5.2")
    environments = harness.open_with()
    await environments.open()

    async def lease() -> None:
        async with environments.lease(wanted):
            pass

    harness.index.released.clear()
    task = asyncio.create_task(lease())
    await until(lambda: bool(harness.index.requests))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert harness.built() == harness.partial() == []
    assert environments.state(wanted.key) is None


async def test_a_build_that_takes_too_long_ends(harness: Harness) -> None:
    """The limit is the operator's; the error says which setting it is."""
    environments = harness.open_with(GATEWAY_ENVIRONMENT_TIMEOUT_SECONDS="2")
    await environments.open()
    harness.index.released.clear()
    with pytest.raises(UpstreamUnavailable, match="GATEWAY_ENVIRONMENT_TIMEOUT_SECONDS"):
        async with environments.lease(harness.require("learner==1.5.2")):
            pass
    assert harness.built() == harness.partial() == []


async def test_the_tag_decides_first(harness: Harness) -> None:
    """A version that says shared gets none, whatever it requires; one that says own gets one."""
    environments = harness.open_with()
    await environments.open()
    harness.require("learner==1.5.2")
    async with environments.lease(version(tags={"gateway.environment": "shared"})) as environment:
        assert environment is None
    harness.require("numpy>=1")
    async with environments.lease(version(tags={"gateway.environment": "own"})) as environment:
        assert environment is not None


async def test_wheels_of_the_version_itself_are_installed(harness: Harness) -> None:
    """A wheel in the version's own folder needs no index, and one with MLflow is left out."""
    make_wheel(harness.source.folder_path / "wheels", "private-code", "3.1")
    environments = harness.open_with()
    await environments.open()
    wanted = harness.require("wheels/private_code-3.1-py3-none-any.whl", "wheels/mlflow-2.0-py3-none-any.whl")
    async with environments.lease(wanted) as environment:
        assert environment is not None
        assert versions_in(environment)["private-code"] == "3.1"
    with pytest.raises(EnvironmentRefused, match="not in its folder"):
        async with environments.lease(harness.require("wheels/other-1.0-py3-none-any.whl", name="other")):
            pass


async def test_what_cannot_be_installed_may_be_here_already(harness: Harness) -> None:
    """An option is no reason to refuse a version whose packages are all here, but one that needs others."""
    environments = harness.open_with()
    await environments.open()
    option = "--extra-index-url https://user:geheim@example.org/packages"
    async with environments.lease(harness.require(option, "numpy==2.5.0")) as environment:
        assert environment is None
    with pytest.raises(EnvironmentRefused, match="'--extra-index-url'") as caught:
        async with environments.lease(harness.require(option, "numpy==1.26.4", name="old")):
            pass
    assert "geheim" not in str(caught.value)
