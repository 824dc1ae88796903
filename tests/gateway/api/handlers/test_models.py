"""Proves the routes that describe models and versions, against a real MLflow server."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.support.gateways import Gateway, invoke

if TYPE_CHECKING:
    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

VERSION = {
    "name",
    "version",
    "source",
    "status",
    "stage",
    "aliases",
    "tags",
    "description",
    "created",
    "updated",
    "run_id",
    "metrics",
}
MODEL = {"name", "source", "description", "tags", "aliases", "latest", "created", "updated"}


async def get(gateway: Gateway, path: str) -> tuple[int, Any]:
    async with gateway.get(path) as answer:
        return answer.status, await answer.json()


def is_utc(text: str) -> bool:
    return text.endswith("Z") and datetime.fromisoformat(text).tzinfo is not None


@pytest.mark.parametrize("path", ["/model", "/model/", "/models", "/models/"])
async def test_the_list(gateway: Gateway, path: str) -> None:
    """All four paths return the registered models and experiments."""
    status, page = await get(gateway, f"{path}?filter=api")
    assert status == 200
    found = {model["name"]: model for model in page["models"]}
    assert {"api-sums", "api-tens", "api/forest", "api..dots"} <= found.keys()
    assert found["api-sums"].keys() == MODEL
    assert (found["api-sums"]["source"], found["api/forest"]["source"]) == ("registry", "experiment")
    assert found["api-sums"]["aliases"] == {"champion": "2"}
    assert found["api-sums"]["latest"] == "3"
    assert is_utc(found["api-sums"]["created"])


async def test_pages(gateway: Gateway) -> None:
    """Every model is on exactly one page; tests beside this one may add others meanwhile."""
    all_names = [
        model["name"] for model in (await get(gateway, "/model?filter=api&max_results=1000"))[1]["models"]
    ]
    names: list[str] = []
    token = ""
    while True:
        status, page = await get(
            gateway, f"/model?filter=api&max_results=3&page_token={quote(token, safe='')}"
        )
        assert status == 200
        assert len(page["models"]) <= 3
        names += [model["name"] for model in page["models"]]
        if "next_page_token" not in page:
            break
        token = page["next_page_token"]
    assert set(all_names) <= set(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("text", ["", "0", "1001", "-1", "x", "1.5", "٣", "99999999999999999999"])
async def test_max_results_out_of_range(gateway: Gateway, text: str) -> None:
    """400, and the message has the valid range."""
    status, error = await get(gateway, f"/model?max_results={quote(text)}")
    assert (status, error["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "from 1 to 1000" in error["message"]


async def test_an_invalid_page_token_and_unknown_parameters(gateway: Gateway) -> None:
    """The token is rejected; unknown parameters are ignored."""
    assert (await get(gateway, "/model?page_token=nonsense"))[0] == 400
    assert (await get(gateway, "/model?unknown=1&filter=api-sums"))[0] == 200


@pytest.mark.parametrize(
    "path", ["/model/api-sums", "/model/api-sums/", "/models/api-sums", "/models/api-sums/"]
)
async def test_one_model(gateway: Gateway, path: str) -> None:
    """The response has all versions, newest first, and the versions that `latest` and `best` select."""
    status, model = await get(gateway, path)
    assert status == 200
    assert model.keys() == MODEL | {"best", "hides_experiment", "versions"}
    assert [version["version"] for version in model["versions"]] == ["3", "2", "1"]
    assert all(version.keys() == VERSION for version in model["versions"])
    assert model["versions"][1]["aliases"] == ["champion"]
    assert model["versions"][1]["metrics"] == {"rmse": 0.5, "r2": 0.5}
    assert model["best"] == {"version": "2", "metric": "rmse", "value": 0.5, "order": "min"}


async def test_an_experiment(gateway: Gateway, registered: list[str]) -> None:
    """Its runs are its versions; the slash in its name is written %2F or %2f."""
    for name in ("api%2Fforest", "api%2fforest"):
        status, model = await get(gateway, f"/model/{name}")
        assert (status, model["name"], model["source"]) == (200, "api/forest", "experiment")
        assert [version["run_id"] for version in model["versions"]] == registered[::-1]
    status, version = await get(gateway, "/model/api%2Fforest/2")
    assert status == 200
    assert version["run"]["status"] == "FINISHED"
    assert (version["signature"], version["artifact_uri"], version["flavors"]) == (None, None, None)
    status, error = await invoke(gateway, "/model/api%2Fforest/2/invocation")
    assert (status, error["error_code"]) == (409, "RESOURCE_CONFLICT")


@pytest.mark.parametrize(
    "path",
    ["/model/api-wine/1", "/model/api-wine/1/", "/models/api-wine/@champion", "/model/api-wine/latest/"],
)
async def test_one_version(gateway: Gateway, path: str, mlflow_server: MlflowServer) -> None:
    """The response has the data from MLflow, from the version's files and from the gateway."""
    status, version = await get(gateway, path)
    assert status == 200
    assert version["run"]["params"] == {"alpha": "0.5"}
    assert version["run"]["name"] == "a wine"
    assert version["metrics"] == {"accuracy": 0.97}
    assert len(version["signature"]["inputs"]) == 4
    assert version["signature"]["inputs"][0] == {"type": "double", "name": "alcohol", "required": True}
    assert version["signature"]["params"] is None
    assert set(version["flavors"]) == {"python_function", "sklearn"}
    assert version["mlflow_version"]
    assert version["requirements"] == ["mlflow", "scikit-learn", "a-missing-package==1.0"]
    assert version["requirements_missing"] == ["a-missing-package==1.0"]
    assert version["artifact_uri"].startswith("mlflow-artifacts:/")
    assert version["serving"]["state"] in {"cold", "warm"}


async def test_the_input_example_is_a_body(gateway: Gateway) -> None:
    """A client can post it unchanged."""
    _, version = await get(gateway, "/model/api-wine/1")
    async with gateway.post("/model/api-wine/1/invocation", json=version["input_example"]) as answer:
        assert answer.status == 200
        assert len((await answer.json())["predictions"]) == 2
    _, version = await get(gateway, "/model/api-wine/1")
    batching = version["serving"].pop("batching")
    assert batching == {"rows_together": True, "reason": "each row is predicted alone as it is with others"}
    assert version["serving"] == {"state": "warm", "workers": 1}


@pytest.mark.parametrize(("number", "folder"), [("1", "nowhere"), ("2", "garbled")])
async def test_files_that_cannot_be_read(gateway: Gateway, number: str, folder: str) -> None:
    """The response has null for the data from the files."""
    status, version = await get(gateway, f"/model/api-lost/{number}")
    assert status == 200
    unknown = {
        "signature",
        "flavors",
        "mlflow_version",
        "requirements",
        "requirements_missing",
        "input_example",
    }
    assert {version[part] for part in unknown} == {None}
    assert version["artifact_uri"].endswith(f"/{folder}")
    assert version["run"]["run_id"] == version["run_id"]


async def test_best_by_metric_and_order(gateway: Gateway) -> None:
    """`best` can replace a version number, and the parameters decide which version it is."""
    assert (await get(gateway, "/model/api-sums/best"))[1]["version"] == "2"
    assert (await get(gateway, "/model/api-sums/best?metric=rmse&order=max"))[1]["version"] == "1"
    status, error = await get(gateway, "/model/api-sums/best?metric=nothing&order=max")
    assert status == 422
    assert "rmse" in error["message"]
    status, error = await get(gateway, "/model/api-sums/best?order=sideways")
    assert (status, error["message"]) == (400, "order must be min or max.")


@pytest.mark.parametrize(
    "path",
    [
        "/model/missing", "/model/missing/1", "/model/api-sums/4", "/model/api-sums/01",
        "/model/api-sums/%2B1", "/model/api-sums/0", "/model/api-sums/%D9%A3", "/model/api-sums/@missing",
        "/model/api-sums/invocation",
        f"/model/api-sums/{'9' * 40}", "/model/%FF", "/model/a%00b",
    ],
)  # fmt: skip
async def test_what_does_not_exist(gateway: Gateway, path: str) -> None:
    """404 with MLflow's code, and also for numbers on which MLflow's client would hang."""
    status, error = await get(gateway, path)
    assert (status, error["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
