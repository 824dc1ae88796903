"""Proves that the credentials of a package index reach uv, and neither clients, nor the log, nor models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.environments import failures, uv_environment
from gateway.environments.uv_output import UvOutput
from gateway.errors import EnvironmentRefused, GatewayError, UpstreamUnavailable
from gateway.settings import load
from gateway.settings.worker_environment import worker_environment

if TYPE_CHECKING:
    from tests.gateway.environments.conftest import Harness

PASSWORD = "geheim-9x"  # noqa: S105 - the test's own


async def test_a_password_reaches_the_index_alone(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """It builds with it; without it, and for what the index has not, no text has it."""
    harness.index.password = PASSWORD
    environments = harness.open_with()
    await environments.open()
    async with environments.lease(harness.require("learner==1.5.2")) as environment:
        assert environment is not None
    with pytest.raises(EnvironmentRefused) as refused:
        async with environments.lease(harness.require("learner==9", name="b")):
            pass
    harness.index.password = f"{PASSWORD}-new"
    environments = harness.open_with(UV_DEFAULT_INDEX=harness.index.url.replace("-new", "-old"))
    with pytest.raises(UpstreamUnavailable, match="refuses the gateway's credentials") as denied:
        async with environments.lease(harness.require("helper==2.0", name="c")):
            pass
    for text in (str(refused.value), str(denied.value), caplog.text):
        assert PASSWORD not in text
        assert "reader" not in text
    files = [path for path in harness.root.rglob("*") if path.is_file() and "uv-cache" not in path.parts]
    assert not any(PASSWORD.encode() in path.read_bytes() for path in files)


def test_models_see_nothing_of_uvs_settings(harness: Harness) -> None:
    """Not even if the operator passes variables on."""
    variables = harness.variables(
        UV_INDEX_COMPANY_PASSWORD=PASSWORD,
        UV_INDEX_COMPANY_USERNAME="reader",
        UV_INDEX="company=https://packages.example.org/x",
    )
    seen = worker_environment(load(variables))
    assert not [name for name in seen if name.startswith("UV_")]


def test_uv_gets_its_own_variables_alone() -> None:
    """Neither the gateway's secrets nor variables that could make uv do something else."""
    given = {
        "UV_INDEX_A_PASSWORD": PASSWORD, "HTTPS_PROXY": "http://u:p%40ss@proxy:1", "GATEWAY_CACHE_KEY": "x",
        "MLFLOW_TRACKING_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x", "UV_CONFIG_FILE": "/x",
        "LD_PRELOAD": "/x", "UV_PYTHON": "/x", "UV_NO_BUILD": "0", "PATH": "/evil",
    }  # fmt: skip
    chosen = uv_environment.uv_environment(given)
    assert {"UV_INDEX_A_PASSWORD", "HTTPS_PROXY"} <= chosen.keys()
    assert not chosen.keys() & {
        "GATEWAY_CACHE_KEY", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "UV_CONFIG_FILE", "LD_PRELOAD",
        "UV_PYTHON", "UV_NO_BUILD",
    }  # fmt: skip
    assert chosen["PATH"] != "/evil"
    assert {PASSWORD, "p%40ss", "p@ss"} <= set(uv_environment.secrets_in(chosen))


@pytest.mark.parametrize(
    "text",
    [
        f"error: Failed to fetch: https://reader:{PASSWORD}@packages.example.org/x/numpy",
        f"error: cannot read `/srv/secret/{PASSWORD}/x.whl` and ~/.netrc and file:///srv/{PASSWORD}/y",
        f"error: {PASSWORD}\n  cause: /srv/app/x: Permission denied",
        "error: https://packages.example.org/token-of-a-user/simple could not be queried",
        "x" * 100_000,
    ],
)
def test_a_clients_text_has_no_path_and_no_address(text: str) -> None:
    """Whatever uv writes, it becomes one short line."""
    error = failures.to_error(UvOutput(2, "", text), doing="built", secrets=(PASSWORD,))
    assert isinstance(error, GatewayError)
    message = str(error)
    assert message.isprintable()
    assert len(message) < 900
    for hidden in (PASSWORD, "/srv", "example.org", "token-of", "netrc"):
        assert hidden not in message
