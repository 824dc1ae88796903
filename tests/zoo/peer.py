"""MLflow's own scoring server for every model of the zoo, in one process on one port.

    python -m tests.zoo.peer PLACES

PLACES is a file of JSON, model → folder. Each model's server is the application that `mlflow models
serve` runs, under the model's name; `/direct/{model}` answers what `load_model(...).predict(...)` gives
on data that MLflow's own functions parsed. Prints its address once it listens.
"""

from __future__ import annotations

import io
import json
import socket
import sys
import traceback
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import uvicorn
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel, load_model, scoring_server
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request  # noqa: TC002 - the framework looks at the annotation
from starlette.responses import Response
from starlette.routing import Mount, Route

from tests.zoo.reference import NoForm, plain

PLACES: dict[str, str] = json.loads(Path(sys.argv[1]).read_text()) if len(sys.argv) > 1 else {}


@lru_cache
def model(name: str) -> PyFuncModel:
    """The model, loaded once."""
    return load_model(PLACES[name], suppress_warnings=True)


@lru_cache
def server(name: str) -> Any:
    """MLflow's application of the model."""
    return scoring_server.init(model(name))


async def served(scope: Any, receive: Any, send: Any) -> None:
    """Pass the request on to the application of the model that its path begins with."""
    name = scope["path"].split("/")[2]
    app = await run_in_threadpool(server, name)
    await app({**scope, "path": "/invocations", "raw_path": b"/invocations", "root_path": ""}, receive, send)


async def direct(request: Request) -> Response:
    """What the model in this process answers."""
    body = await request.body()
    media_type = request.headers["content-type"]
    told = await run_in_threadpool(predicted, request.path_params["name"], body, media_type=media_type)
    return Response(json.dumps(told), media_type="application/json")


def predicted(name: str, body: bytes, *, media_type: str) -> dict[str, Any]:
    """The outcome, with the value or the exception's type; `refuses` where MLflow does not take the data."""
    server(name)  # tells MLflow, by its environment, that it serves
    try:
        data, params = parsed(model(name), body, media_type=media_type)
        answer = model(name).predict(data, params=params)
    except MlflowException as error:
        return {
            "outcome": "refuses" if "secret" not in str(error) else "raises",
            "type": type(error).__name__,
        }
    except Exception as error:  # noqa: BLE001 - whatever a model raises is what is asked for
        return {"outcome": "raises", "type": type(error).__name__}
    try:
        return {"outcome": "answers", "value": plain(answer)}
    except NoForm as error:
        return {"outcome": "has no form", "type": str(error)}


def _of_the_model(error: BaseException) -> bool:
    """Whether the code of one of the zoo's models raised it."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(str(frame.f_globals.get("__name__")).startswith("tests.zoo.making") for frame in frames)


def parsed(loaded: PyFuncModel, body: bytes, *, media_type: str) -> tuple[Any, Any]:
    """The data and params that MLflow's server would call the model with."""
    schema = loaded.metadata.get_input_schema()
    if media_type == scoring_server.CONTENT_TYPE_CSV:
        return scoring_server.parse_csv_input(io.StringIO(body.decode()), schema), None
    if media_type == scoring_server.CONTENT_TYPE_PARQUET:
        return scoring_server.parse_parquet_input(io.BytesIO(body)), None
    read = scoring_server._parse_json_data(
        body, loaded.metadata, schema
    )  # the server's own function is the point
    return read.data, read.params


def main() -> None:
    """Serve until ended."""
    warnings.simplefilter("ignore")
    app = Starlette(routes=[Route("/direct/{name}", direct, methods=["POST"]), Mount("/served", app=served)])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - the tests read it
        uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listener])


if __name__ == "__main__":
    main()
