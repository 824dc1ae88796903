"""What MLflow's own code rejects is the client's fault, as in its server; what the model raises is not."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.pyfunc import scoring_server
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from tests.support import judged_models as judged
from tests.support import models
from workers.environment import NO_MLFLOW_URI
from workers.errors import InvalidInput
from workers.protocol.messages import Job, ModelKey, ModelSource
from workers.runtime import mlflow_access
from workers.runtime.model import LoadedModel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", autouse=True)
def discarded_traces() -> Iterator[None]:
    """Keep the spans of agents out of the working folder, as a worker does."""
    mlflow_access.install()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", NO_MLFLOW_URI)
        yield


class Kind(NamedTuple):
    """A model or its class, a good input, those that MLflow rejects, and one on which the model raises."""

    model: Any
    good: Any
    bad: list[Any]
    fails: Any
    streams: bool = False


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def said(text: str, role: str = "user") -> dict[str, str]:
    return {"role": role, "content": text}


NO_CHATS = [
    chat({"role": "guest"}),
    chat({"role": 5, "content": "q"}),
    chat({"content": "q"}),
    chat("text"),
    chat(None),
    {"messages": None},
    {"messages": "text"},
    {"messages": 5},
    {"messages": {"role": "user"}},
]
KINDS: dict[str, Kind] = {
    "ChatModel": Kind(
        judged.Chat,
        chat(said("q")),
        [*NO_CHATS, chat(said("q"), temperature="hot"), chat(said("q"), n=[])],
        chat(said(judged.FAIL)),
        streams=True,
    ),
    "ChatAgent": Kind(
        judged.Agent,
        chat(said("q")),
        [*NO_CHATS, chat({"role": "user"}), chat(said("q", "tool")), chat(said("q"), context="text")],
        chat(said(judged.FAIL)),
        streams=True,
    ),
    "ResponsesAgent": Kind(
        judged.Responses,
        {"input": [said("q")]},
        [
            {"input": [{"role": "guest"}]},
            {"input": ["text"]},
            {"input": None},
            {"input": 5},
            {"input": [{"type": "function_call"}]},
            chat(said("q")),
            {"input": [said("q")], "temperature": "hot"},
        ],
        {"input": [said(judged.FAIL)]},
        streams=True,
    ),
    "pydantic": Kind(
        judged.Messages,
        {"inputs": [{"role": "user", "tokens": [1]}]},
        [
            {"inputs": [{"role": "odd"}]},
            {"inputs": [{"role": 5}]},
            {"inputs": [{"role": "user", "tokens": ["x"]}]},
            {"inputs": [{}]},
            {"inputs": [5]},
            {"inputs": [None]},
            {"inputs": 5},
        ],
        {"inputs": [{"role": judged.FAIL}]},
    ),
    "pydantic-context": Kind(
        judged.Optionals,
        {"inputs": [{"role": "user"}]},
        [{"inputs": ["x"]}],
        {"inputs": [{"role": judged.FAIL}]},
    ),
    "dicts": Kind(
        judged.Mappings,
        {"inputs": [{"a": 1}]},
        [{"inputs": [{"a": "x"}]}, {"inputs": [5]}],
        {"inputs": [{judged.FAIL: 1}]},
    ),
    "lists": Kind(
        judged.Lists,
        {"inputs": [["a"]]},
        [{"inputs": [[5]]}, {"inputs": ["a"]}, {"inputs": {}}],
        {"inputs": [[judged.FAIL]]},
    ),
    "decorated": Kind(
        judged.texts,
        {"inputs": ["a"]},
        [{"inputs": [5]}, {"inputs": "a"}, {"inputs": [None]}],
        {"inputs": [judged.FAIL]},
    ),
}


def saved(folder: Path, model: Any, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that some classes are deprecated
        model = model() if isinstance(model, type) else model
        mlflow.pyfunc.save_model(folder, python_model=model, pip_requirements=["mlflow"], **options)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("judged")
    return {name: saved(base / name, kind.model) for name, kind in KINDS.items()}


def loaded(folder: Path, checks: Any = "strict") -> LoadedModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        return LoadedModel(ModelSource(ModelKey("m", "1", "f"), str(folder), checks))


def job(document: Any) -> Job:
    return Job(json.dumps(document).encode())


def server_status(folder: Path, document: Any) -> int:
    """Return the status of MLflow's scoring server."""
    model = mlflow.pyfunc.load_model(str(folder))
    schema = model.metadata.get_input_schema()
    try:
        answer = scoring_server.invocations(json.dumps(document), "application/json", model, schema)
        return int(answer.status)
    except MlflowException as error:
        return int(error.get_http_status_code())


@pytest.mark.parametrize("checks", ["strict", "mlflow"])
@pytest.mark.parametrize("name", KINDS)
def test_what_mlflow_rejects(folders: dict[str, Path], name: str, checks: str) -> None:
    """Each such body is an invalid input, and the model answers a good one."""
    model, kind = loaded(folders[name], checks), KINDS[name]
    assert model.predict(job(kind.good)).body
    for document in kind.bad:
        with pytest.raises(InvalidInput):
            model.predict(job(document))
        if kind.streams:
            with pytest.raises(InvalidInput):
                next(model.stream(job(document)))
    if kind.streams:
        assert len(list(model.stream(job(kind.good)))) == 1


@pytest.mark.parametrize("name", KINDS)
def test_mlflows_server_rejects_the_same(folders: dict[str, Path], name: str) -> None:
    """The bodies above are rejected by MLflow too, and none is rejected here alone."""
    kind = KINDS[name]
    statuses = [server_status(folders[name], document) for document in [kind.good, *kind.bad]]
    assert statuses == [200, *(500 if status == 500 else 400 for status in statuses[1:])]


@pytest.mark.parametrize("name", KINDS)
def test_what_the_model_raises(folders: dict[str, Path], name: str) -> None:
    """Pydantic's ValidationError from the model's own code stays the model's."""
    model, kind = loaded(folders[name]), KINDS[name]
    with pytest.raises(Exception, match="number") as caught:
        model.predict(job(kind.fails))
    assert type(caught.value).__name__ == "ValidationError"
    if kind.streams:
        with pytest.raises(Exception, match="number") as caught:
            next(model.stream(job(kind.fails)))
        assert type(caught.value).__name__ == "ValidationError"


SIGNATURES: dict[str, tuple[ModelSignature, list[Any]]] = {
    "columns": (models.NUMBERS, [{"dataframe_records": [{"a": "x", "b": 1}]}, {"inputs": {"a": [[1]]}}]),
    "tensors": (
        ModelSignature(inputs=Schema([TensorSpec(np.dtype("float64"), (-1, 2))])),
        [{"inputs": [[1, 2, 3]]}, {"inputs": [["x", "y"]]}, {"instances": 5}],
    ),
    "params": (
        ModelSignature(
            inputs=Schema([ColSpec(DataType.double, "a")]),
            params=ParamSchema([ParamSpec("p", DataType.double, 0.5)]),
        ),
        [{"inputs": {"a": [1.0]}, "params": {"p": "x"}}, {"inputs": {"a": [1.0]}, "params": 5}],
    ),
}


@pytest.mark.parametrize("checks", ["strict", "mlflow"])
@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(tmp_path: Path, name: str, checks: str) -> None:
    """Columns, tensors and params that MLflow rejects are invalid inputs."""
    signature, documents = SIGNATURES[name]
    model = loaded(saved(tmp_path / "m", models.Echo(), signature=signature), checks)
    for document in documents:
        with pytest.raises(InvalidInput):
            model.predict(job(document))
