"""Proves that the OpenAPI tools of others understand the gateway's documents, and find them true."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from gateway.auth.access_file.key import new_key
from tests.clients.ask_with_generated import logged_example
from tests.support import access_files
from tests.support.gateways import ROOT, gateway_at, invoke
from tests.support.mlflow_server import environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.gateways import Gateway
    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

PYTHON = "GATEWAY_TEST_OPENAPI_PYTHON"
SECONDS = 60
MODELS = (
    "api-wine",
    "api-chat",
    "api-responses",
    "example-table",
    "example-tensor",
    "example-params",
    "example-nested",
    "example-names",
)
TYPED = ("api-wine", "example-params", "example-nested", "example-table")


@pytest.fixture(scope="session")
def openapi_tools() -> Path:
    """The folder of the tools' programs."""
    python = os.environ.get(PYTHON, "")
    if not python:
        pytest.skip(f"{PYTHON} names no Python with the tools: make test-clients makes one")
    return Path(python).parent


@pytest.fixture(scope="session")
def examples(openapi_tools: Path, mlflow_server: MlflowServer, registered: list[str]) -> None:
    """The models with input examples are registered."""
    mlflow_server.module("tests.clients.registering_examples")


async def run(*command: str | Path, tools: Path) -> str:
    """Run a program of the tools, and return its output; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        env={
            **environment({}),
            "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}",
            "NO_COLOR": "1",
            "COLUMNS": "200",
        },
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 4 * SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()[-6000:]
    return output.decode()


@pytest.mark.parametrize("model", MODELS)
async def test_a_generated_client_gets_the_gateways_answer(
    gateway: Gateway, examples: None, openapi_tools: Path, tmp_path: Path, model: str
) -> None:
    """openapi-python-client makes a package of the document; it sends the example, and reads the answer."""
    async with gateway.get(f"/model/{model}/1/openapi.json") as answer:
        text = await answer.text()
    document, folder = tmp_path / "openapi.json", tmp_path / "generated"
    document.write_text(text)
    await run(
        openapi_tools / "openapi-python-client", "generate", "--path", document, "--output-path", folder,
        "--meta", "none", tools=openapi_tools,
    )  # fmt: skip
    address = str(gateway.make_url("")).rstrip("/")
    output = await run(
        openapi_tools / "python", "-m", "tests.clients.ask_with_generated", address, document, folder,
        tools=openapi_tools,
    )  # fmt: skip
    found = json.loads(output.splitlines()[-1])
    status, expected = await invoke(
        gateway, f"/model/{model}/1/invocation", json.dumps(logged_example(json.loads(text))).encode()
    )
    assert status == 200
    assert steady(found["answer"]) == steady(expected)


def steady(answer: Any) -> Any:
    """Return an answer without the ids that agents make anew each time."""
    return json.loads(
        re.sub(r'"(id|created_at|created)": ("[^"]*"|\d+(\.\d+)?)', r'"\1": null', json.dumps(answer))
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def limited(
    mlflow_server: MlflowServer, examples: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Gateway, str]]:
    """A gateway with keys, and a key for the models of these tests alone: others load for minutes."""
    folder, key = tmp_path_factory.mktemp("limited"), new_key()[0]
    models = json.dumps(["wine", "example-*", "api-wine"])
    grants = f"grants: {{read: {models}, invoke: {models}, manage: {models}, status: ['*']}}"
    file = access_files.write(folder / "access.yaml", f"keys:\n{access_files.entry(key, 'tester', grants)}")
    values = {"GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS_FILE": str(file)}
    async with gateway_at(mlflow_server.url, folder / "cache", **values) as gateway:
        yield gateway, key


async def test_the_whole_api(limited: tuple[Gateway, str], openapi_tools: Path) -> None:
    """Schemathesis asks every route as the document says, and otherwise, and finds nothing wrong."""
    options = ("-n", "15", "--max-time", str(SECONDS))
    await schemathesis(*limited, "/openapi.json", *options, config="schemathesis.toml", tools=openapi_tools)


@pytest.mark.parametrize("model", TYPED)
async def test_a_versions_document(
    limited: tuple[Gateway, str], openapi_tools: Path, tmp_path: Path, model: str
) -> None:
    """The JSON that a version's document allows is accepted, and what it forbids is refused."""
    gateway, key = limited
    async with gateway.get(
        f"/model/{model}/1/openapi.json", headers={"Authorization": f"Bearer {key}"}
    ) as answer:
        document = await answer.json()
    content = document["paths"][f"/model/{model}/1/invocation"]["post"]["requestBody"]["content"]
    for media_type in set(content) - {"application/json"}:
        del content[media_type]  # no schema says what a text or bytes must be to be a table
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document))
    options = ("--include-operation-id", "invoke", "--phases", "examples,coverage,fuzzing", "-n", "25")
    await schemathesis(gateway, key, file, *options, config="schemathesis-version.toml", tools=openapi_tools)


async def schemathesis(
    gateway: Gateway, key: str, location: str | Path, *options: str, config: str, tools: Path
) -> None:
    """Have the document at a path or in a file tested; no fault may be the gateway's own, only of models."""
    url = str(gateway.make_url("")).rstrip("/")
    location = f"{url}{location}" if isinstance(location, str) else location
    file = Path(__file__).with_name(config)
    await run(
        tools / "st", "--config-file", file, "run", location, "--url", url, "--no-color", "--seed", "1",
        "-H", f"Authorization: Bearer {key}", *options, tools=tools,
    )  # fmt: skip
    async with gateway.get("/metrics", headers={"Authorization": f"Bearer {key}"}) as answer:
        counted = re.findall(
            r"^gateway_internal_errors_total\{.*\} (\S+)$", await answer.text(), re.MULTILINE
        )
    assert counted
    assert set(map(float, counted)) == {0.0}
