"""Proves that each version has a valid OpenAPI document of its own, which its real answers keep to."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

import pytest
from openapi_spec_validator import validate

from gateway.api.keys import COMPONENTS
from tests.support.browser import chromium
from tests.support.gateways import Gateway, gateway_at, invoke
from tests.support.hostile_names import HOSTILE
from tests.support.mlflow_records import create_run, create_version, put_artifact, unique_name
from tests.support.version_documents import body_validator, json_body_schema, validator

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODELS = (
    "api-sums",
    "api-echo",
    "api-commands",
    "api-chat",
    "api-responses",
    "api-nan",
    "api-numbered",
    "api-wine",
)


async def get(gateway: Gateway, path: str) -> Any:
    """Return the JSON of a path that answers 200."""
    async with gateway.get(path) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "application/json"
        return json.loads(await answer.read())


@pytest.mark.parametrize("model", [*MODELS, *HOSTILE])
async def test_the_document_is_valid(gateway: Gateway, model: str) -> None:
    """It is OpenAPI 3.1 by the specification's schema, and its paths are routes of this version."""
    path = f"/model/{quote(model, safe='')}/1/openapi.json"
    document = await get(gateway, path)
    validate(document)
    assert document["info"]["title"] == f"{model}, version 1"
    base = urljoin(str(gateway.make_url(path)), document["servers"][0]["url"])
    shown = next(
        each for each, item in document["paths"].items() if each.startswith("/model/") and "get" in item
    )
    async with gateway.get(urlsplit(base).path.rstrip("/") + shown) as answer:
        assert (await answer.json())["name"] == model


async def test_details_lead_to_it(gateway: Gateway) -> None:
    """The details of a version have its address, relative to that of the gateway."""
    details = await get(gateway, f"/model/{quote(HOSTILE[0], safe='')}/1")
    document = await get(gateway, f"/{details['openapi']}")
    assert document["info"]["title"] == f"{HOSTILE[0]}, version 1"


@pytest.mark.parametrize("model", ["api-wine", "api-chat", "api-responses"])
async def test_the_example_runs_and_its_answer_is_as_described(gateway: Gateway, model: str) -> None:
    """The example that a model was logged with is a body, by the schema and by the gateway."""
    document = await get(gateway, f"/model/{model}/1/openapi.json")
    (path,) = [
        path for path in document["paths"] if path.startswith("/model/") and path.endswith("/invocation")
    ]
    operation = document["paths"][path]["post"]
    body = operation["requestBody"]["content"]["application/json"]["examples"]["logged"]["value"]
    body_validator(document).validate(body)
    status, answer = await invoke(gateway, path, json.dumps(body).encode())
    assert status == 200, answer
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    validator(document, schema).validate(answer)


async def test_equal_signatures_have_equal_documents(gateway: Gateway) -> None:
    """Only the first words tell how a version was asked for; another version differs by its number."""
    texts = {
        asked: await get(gateway, f"/model/api-sums/{asked}/openapi.json")
        for asked in ("2", "@champion", "best", "latest", "3")
    }
    described = {asked: document["info"].pop("description") for asked, document in texts.items()}
    assert texts["2"] == texts["@champion"] == texts["best"]
    assert texts["3"] == texts["latest"]
    renamed = (
        json.dumps(texts["2"])
        .replace("sums, version 2", "sums, version 3")
        .replace("api-sums/2/", "api-sums/3/")
    )
    renamed = renamed.replace("api-sums/2", "api-sums/3").replace("versions/2/", "versions/3/")
    assert (
        json.loads(
            renamed.replace('"version": "2"', '"version": "3"').replace('"const": "2"', '"const": "3"')
        )
        == texts["3"]
    )
    assert described["@champion"].startswith("`@champion` is version 2 now")
    assert described["best"].startswith("`best` is version 2 now")
    assert described["latest"].endswith(described["3"])


async def test_the_headers_name_the_version(gateway: Gateway) -> None:
    """A client that asked for an alias learns the version without reading the document."""
    async with gateway.get("/model/api-sums/@champion/openapi.json/") as answer:
        assert (answer.headers["Model-Name"], answer.headers["Model-Version"]) == ("api-sums", "2")
    async with gateway.get("/model/api-sums/99/openapi.json") as answer:
        assert answer.status == 404


def create_model(server: MlflowServer, inputs: str, **more: str) -> str:
    """Register a version whose MLmodel file has these inputs; return the model's name."""
    name, run = unique_name("schema"), create_run(server, "0")
    quoted = inputs.replace("'", "''")
    text = f"flavors: {{}}\nsignature: {{inputs: '{quoted}'}}\n"
    put_artifact(server, f"{run['artifact_uri']}/model/MLmodel", text)
    for path, content in more.items():
        put_artifact(server, f"{run['artifact_uri']}/model/{path}.json", content)
    server.call("registered-models/create", {"name": name})
    create_version(server, name, run)
    return name


DEEP = '{"type":"array","items":' * 900 + "5" + "}" * 900
HOSTILE_INPUTS = {
    "no list": "5",
    "no columns": '[5, null, "x"]',
    "odd columns": '[{"type": ["a"]}, {"type": {}, "name": {}}, {"required": 3}]',
    "odd tensors": '[{"type": "tensor", "tensor-spec": {"dtype": 5, "shape": "x"}}]',
    "long shape": '[{"type": "tensor", "tensor-spec": {"dtype": "int8", "shape": [9' + ",9" * 900 + "]}}]",
    "huge shape": '[{"type": "tensor", "tensor-spec": {"dtype": "int8", "shape": [999999999999999999, -5]}}]',
    "deep": f'[{{"name": "x", "type": "array", "items": {DEEP}}}]',
    "equal names": '[{"name": "x", "type": "long"}, {"name": "x", "type": "long"}]',
    "markup": '[{"name": "<img src=x onerror=alert(1)>", "type": "long"}, {"name": "$ref", "type": "long"}]',
    "wide": json.dumps([{"name": f"column {number}", "type": "double"} for number in range(10_000)]),
}


@pytest.mark.parametrize("inputs", HOSTILE_INPUTS.values(), ids=HOSTILE_INPUTS.keys())
async def test_hostile_signatures(gateway: Gateway, mlflow_server: MlflowServer, inputs: str) -> None:
    """Each has a document, whose size is bounded by that of the signature."""
    name = create_model(mlflow_server, inputs, input_example="[" * 500 + "]" * 500)
    async with gateway.get(f"/model/{name}/1/openapi.json") as answer:
        assert answer.status == 200
        text = await answer.read()
    assert len(text) < 40_000 + 8 * len(inputs)
    schema = json_body_schema(json.loads(text))
    assert set(schema) in ({"$ref"}, {"anyOf"})


async def test_a_document_is_built_once(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Many requests at once, and later ones, share one; a change of the checks makes another."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_CATALOG_TTL_SECONDS="3600") as gateway:
        documents = gateway.app[COMPONENTS].documents
        answers = await asyncio.gather(*(get(gateway, "/model/api-sums/1/openapi.json") for _ in range(10)))
        assert all(answer == answers[0] for answer in answers)
        (entry,) = documents._built.values()
        await get(gateway, "/model/api-sums/1/openapi.json")
        assert [entry] == list(documents._built.values())


@pytest.mark.slow
async def test_the_page_shows_a_versions_document_and_no_foreign_one(
    gateway: Gateway, tmp_path: Path
) -> None:
    """`?url=` selects the document of a version; any other address shows that of the whole API."""
    async with chromium(tmp_path, hosts="*.example") as browser:
        page = await browser.new_page()
        shown = {}
        for asked in (
            "model/api-wine/1/openapi.json",
            "//evil.example/model/a/1/openapi.json",
            "javascript:alert(1)",
            "model/api-wine/1",
            "data:application/json,{}",
            "../model/api-wine/1/openapi.json",
        ):
            await page.open(str(gateway.make_url(f"/docs?url={quote(asked, safe='')}")))
            shown[asked] = await page.wait_for("(document.querySelector('.info .title') || {}).textContent")
    titles = [title.partition("version")[0].strip() for title in shown.values()]
    assert titles[0] == titles[-1] == "api-wine,"
    assert all(title.startswith("Model invocation endpoint") for title in titles[1:-1])
