"""What MLflow's own clients of its servers do with the gateway: the scoring and the deployment client.

Runs with MLflow 3 and with MLflow 2.22. The models are those of `tests.support.register_models`.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import requests
from mlflow.deployments import get_deploy_client
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from mlflow.version import VERSION
from requests.exceptions import HTTPError

from tests.clients.checks import check, main
from tests.support.hostile_names import HOSTILE

ROWS = pd.DataFrame({"a": [1.0, 3.0], "b": [2.0, 4.0]})
SPLIT = {"dataframe_split": ROWS.to_dict(orient="split")}


class Clients:
    """The clients of one gateway."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.deployments: Any = get_deploy_client(url)

    def scoring(self, version: str) -> ScoringServerClient:
        """The client of the server at a version's address; it makes its base URL of a host and a port."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return ScoringServerClient(host, f"{port}/model/{version}")

    def queries(self) -> float:
        """How many requests the deployment client sent for predictions of latest versions."""
        lines = requests.get(f"{self.url}/metrics", timeout=60).text.splitlines()
        route = 'route="/endpoints/{name}/invocations"'
        return sum(
            float(line.split()[-1]) for line in lines if "http_requests_total{" in line and route in line
        )


def refused(call: Any, *kinds: type[Exception]) -> str:
    try:
        call()
    except kinds as error:
        return str(error)
    raise AssertionError("nothing was refused")


@check
def health(clients: Clients) -> None:
    client = clients.scoring("api-sums/@champion")
    client.ping()
    client.wait_server_ready(timeout=60)
    assert client.get_version().count(".") >= 2
    assert '"' not in client.get_version()


@check
def no_health(clients: Clients) -> None:
    assert "404" in refused(clients.scoring("api-none/1").ping, Exception)
    assert "not ready" in refused(
        lambda: clients.scoring("api-none/1").wait_server_ready(0), RuntimeError
    ) or (VERSION.startswith("2."))


@check
def frames(clients: Clients) -> None:
    told = clients.scoring("api-sums/@champion").invoke(ROWS)
    assert dict(told) == {"predictions": [6.0, 14.0]}
    assert told.get_predictions().iloc[:, 0].tolist() == [6.0, 14.0]
    np.testing.assert_array_equal(told.get_predictions("ndarray", dtype=np.float64), [6.0, 14.0])


@check
def lists_and_arrays(clients: Clients) -> None:
    client = clients.scoring("api-sums/1")
    assert client.invoke([{"a": 1.0, "b": 2.0}])["predictions"] == [3.0]
    array = np.array([[1.0, 2.0]])
    (answer,) = clients.scoring("api-numbered/latest").invoke(array)["predictions"]
    assert abs(answer - 5.0) < 1e-9
    assert client.invoke(json.dumps(SPLIT))["predictions"] == [3.0, 7.0]


@check
def tables_as_answers(clients: Clients) -> None:
    rows = pd.DataFrame({"count": [1, 2], "weight": [0.5, None], "label": ["x", "ö"]})
    told = clients.scoring("api-echo/1").invoke(rows.astype({"weight": float}))
    pd.testing.assert_frame_equal(
        told.get_predictions()[["count", "label"]], rows[["count", "label"]], check_dtype=False
    )
    assert told.get_predictions()["weight"].isna().tolist() == [False, True]


@check
def missing_numbers(clients: Clients) -> None:
    told = clients.scoring("api-nan/1").invoke(ROWS)
    assert told["predictions"] == [None, None, 1.5]
    array = told.get_predictions("ndarray", dtype=np.float64)
    assert np.isnan(array[:2]).all()
    assert array[2] == 1.5


@check
def params(clients: Clients) -> None:
    message = refused(lambda: clients.scoring("api-sums/1").invoke(ROWS, params={"q": 1}), Exception)
    assert "error code 400" in message
    assert "'q'" in message


@check
def scoring_errors(clients: Clients) -> None:
    wrong = ROWS.assign(a="x")
    message = refused(lambda: clients.scoring("api-sums/1").invoke(wrong), Exception)
    assert "error code 400" in message
    assert "INVALID_PARAMETER_VALUE" in message
    raising = pd.DataFrame({"do": ["raise here"]})
    message = refused(lambda: clients.scoring("api-commands/1").invoke(raising), Exception)
    assert "error code 400" in message
    assert "ValueError" in message
    assert "Traceback" not in message


@check
def endpoints(clients: Clients) -> None:
    found = {endpoint.model.name: endpoint for endpoint in clients.deployments.list_endpoints()}
    assert {"api-sums", "api/forest", *HOSTILE} <= found.keys()
    url = f"{clients.url}/endpoints/api-sums/invocations"
    assert found["api-sums"].endpoint_url == url
    assert found["api-sums"].endpoint_type == "mlflow/pyfunc"
    assert found["api-sums"].limit is None
    for name in ("api-sums", "api/forest", *HOSTILE):
        assert clients.deployments.get_endpoint(found[name].name) == found[name]


@check
def one_endpoint(clients: Clients) -> None:
    found = clients.deployments.get_endpoint("api-sums/@champion")
    assert (found.name, found.model.name) == ("api-sums/@champion", "api-sums")
    assert found.endpoint_url == f"{clients.url}/endpoints/api-sums/@champion/invocations"
    assert "404" in refused(lambda: clients.deployments.get_endpoint("api-none"), HTTPError, MlflowException)


@check
def predictions(clients: Clients) -> None:
    predict = clients.deployments.predict
    for name, factor in (("api-sums", 3), ("api-sums/1", 1), ("api-sums/@champion", 2), ("api-sums/best", 2)):
        assert predict(endpoint=name, inputs=SPLIT) == {"predictions": [3.0 * factor, 7.0 * factor]}
    records = {"dataframe_records": [{"a": 1, "b": 2}]}
    assert predict(endpoint="api-tens", inputs=records) == {"predictions": [30.0]}


@check
def any_name(clients: Clients) -> None:
    listed = {endpoint.model.name: endpoint.name for endpoint in clients.deployments.list_endpoints()}
    for name in ("api/forest", HOSTILE[0], HOSTILE[1]):
        assert len(clients.deployments.predict(endpoint=listed[name], inputs=SPLIT)["predictions"]) == 2


@check
def chat(clients: Clients) -> None:
    asked = {"messages": [{"role": "user", "content": "hello"}]}
    told = clients.deployments.predict(endpoint="api-chat", inputs=asked)
    assert told["messages"][0]["content"] == "hello"


@check
def errors_are_not_repeated(clients: Clients) -> None:
    before = clients.queries()
    for name, inputs, status in (
        ("api-commands", {"inputs": [{"do": "raise here"}]}, "400"),
        ("api-sums", {"dataframe_records": [{"a": "x", "b": 1}]}, "400"),
        ("api-none", SPLIT, "404"),
        ("api-broken", SPLIT, "424"),
    ):
        message = refused(lambda: clients.deployments.predict(endpoint=name, inputs=inputs), HTTPError)  # noqa: B023 - it is called at once
        assert message.startswith(status), message
        assert "error_code" in message
    assert clients.queries() - before == 4


@check
def what_the_client_does_not_do(clients: Clients) -> None:
    for call in (
        clients.deployments.list_deployments,
        lambda: clients.deployments.get_deployment("api-sums"),
        lambda: clients.deployments.create_deployment("api-sums", "models:/api-sums/1"),
        lambda: clients.deployments.delete_deployment("api-sums"),
    ):
        refused(call, RuntimeError)
    refused(lambda: clients.deployments.predict("api-sums", SPLIT), AttributeError)


if __name__ == "__main__":
    main(Clients)
