"""Proves that model code finds Python and MLflow as `mlflow models serve` would give them."""

from __future__ import annotations

import textwrap
import warnings
from typing import TYPE_CHECKING

import mlflow.pyfunc
import pytest

from tests.support import models
from tests.workers.conftest import Files, key, load
from tests.workers.pool.calls import ADD, predict
from workers.errors import ModelError, ModelLoadError
from workers.protocol.messages import CSV, Job

if TYPE_CHECKING:
    from pathlib import Path

    from tests.workers.pool.calls import Opened

_SUMS = """
    import mlflow
    from mlflow.pyfunc import PythonModel

    class Model(PythonModel):
        def predict(self, context, model_input, params=None):
            return (model_input["a"] + model_input["b"]).tolist()
"""


def save_code(folder: Path, code: str, **options: object) -> Files:
    """Save a model whose class `Model` is defined by `code`; the code runs in workers alone."""
    script = folder.with_name(f"{folder.name}.py")
    script.write_text(textwrap.dedent(_SUMS) + "mlflow.models.set_model(Model())\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no input example
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(script),
            signature=models.NUMBERS,
            pip_requirements=["mlflow"],
            **options,
        )
    (folder / script.name).write_text(
        textwrap.dedent(_SUMS) + textwrap.dedent(code) + "\nmlflow.models.set_model(Model())\n"
    )
    return Files(key(folder.name), folder)


async def answer(opened: Opened, files: Files, *jobs: Job) -> list[object]:
    """Load a model in a pool of its own, and return its answers."""
    async with opened() as pool:
        await load(pool, files)
        return [await predict(pool, files.key.name, job) for job in jobs or (ADD,)]


async def load_error(opened: Opened, files: Files) -> str:
    """Return what the client reads if the model cannot be loaded."""
    async with opened() as pool:
        with pytest.raises(ModelLoadError) as caught:
            await load(pool, files)
    return str(caught.value)


async def test_a_model_can_load_models(opened: Opened, tmp_path: Path) -> None:
    """Two levels deep, as ensembles and wrappers of MLflow's flavors do."""
    inner = models.save(tmp_path / "inner", models.Sums(), signature=models.NUMBERS)
    wrapper = """
        class Model(PythonModel):
            def load_context(self, context):
                self.inner = mlflow.pyfunc.load_model(context.artifacts["inner"])

            def predict(self, context, model_input, params=None):
                return self.inner.predict(model_input) + 1
    """
    middle = save_code(tmp_path / "middle", wrapper, artifacts={"inner": str(inner)})
    outer = save_code(tmp_path / "outer", wrapper, artifacts={"inner": str(middle.folder)})
    assert await answer(opened, outer) == [[13.0, 24.0]]


async def test_a_model_can_make_spans(opened: Opened, tmp_path: Path) -> None:
    """By MLflow's decorator and by hand, with threads; none is kept, so memory does not grow."""
    code = """
        from concurrent.futures import ThreadPoolExecutor

        from mlflow.tracing.trace_manager import InMemoryTraceManager

        class Model(PythonModel):
            @mlflow.trace
            def inner(self, number):
                mlflow.get_current_active_span().set_attributes({"number": number})
                return number

            @mlflow.trace
            def predict(self, context, model_input, params=None):
                mlflow.update_current_trace(tags={"model": "spans"})
                with mlflow.start_span("by hand") as span:
                    span.set_inputs({"rows": len(model_input)})
                    with ThreadPoolExecutor(1) as executor:
                        numbers = list(executor.map(self.inner, range(3)))
                if model_input["a"].sum() < 0:
                    mlflow.flush_trace_async_logging()
                kept = len(InMemoryTraceManager.get_instance()._traces)
                return [mlflow.get_tracking_uri(), numbers, kept]
    """
    flush = Job(models.body(a=[-1.0], b=[0.0]))
    answers = await answer(opened, save_code(tmp_path / "spans", code), *[ADD] * 20, flush)
    kept = 1  # the request's own
    assert answers[-1] == ["no-mlflow://gateway", [0, 1, 2], kept]


@pytest.mark.parametrize("package", ["workers", "gateway", "xgboost", "orjson"])
async def test_a_model_can_bring_packages_of_any_name(opened: Opened, tmp_path: Path, package: str) -> None:
    """Its own package wins over the worker's module of that name, and the worker's own code goes on."""
    brought = tmp_path / package
    brought.mkdir()
    (brought / "__init__.py").write_text("FACTOR = 2\n")
    (brought / "limits.py").write_text("from . import FACTOR\n")
    (brought / "errors.py").write_text("TERM = 1\n")
    code = f"""
        from {package}.limits import FACTOR

        class Model(PythonModel):
            def predict(self, context, model_input, params=None):
                from {package}.errors import TERM

                if model_input["a"].sum() < 0:
                    raise ValueError
                return (model_input["a"] * FACTOR + TERM).tolist()
    """
    files = save_code(tmp_path / "brings", code, code_paths=[str(brought)])
    async with opened() as pool:
        await load(pool, files)
        assert await predict(pool, "brings", ADD) == [3.0, 5.0]
        with pytest.raises(ModelError):
            await predict(pool, "brings", Job(models.body(a=[-1.0], b=[0.0])))
        assert await predict(pool, "brings", Job(b"a,b\n1,2\n", CSV)) == [3.0]


async def test_the_fork_servers_changes_are_undone(opened: Opened, tmp_path: Path) -> None:
    """Functions of the standard library that it patches are the original ones in a worker."""
    code = """
        import os
        import posix
        from multiprocessing import reduction

        class Model(PythonModel):
            def predict(self, context, model_input, params=None):
                return [os.fork is posix.fork, reduction.recvfds.__module__]
    """
    assert await answer(opened, save_code(tmp_path / "patched", code)) == [
        [True, "multiprocessing.reduction"]
    ]


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ('mlflow.set_experiment("wine")', "get experiment by name"),
        ('mlflow.sklearn.load_model("models:/wine/1")', "get registered model"),
        ('mlflow.sklearn.load_model("models:/wine@champion")', "get model version by alias"),
        ('mlflow.sklearn.load_model("runs:/0123456789abcdef0123456789abcdef/model")', "get run"),
        ('mlflow.genai.load_prompt("prompts:/wine/1")', "get prompt version"),
        ("mlflow.start_run()", "create run"),
    ],
)
async def test_a_load_that_needs_mlflow_says_so(opened: Opened, tmp_path: Path, code: str, call: str) -> None:
    """The client reads what the model tried, and the operator which setting allows it."""
    message = await load_error(opened, save_code(tmp_path / "asks", code))
    assert f'The model asked MLflow to "{call}"' in message
    assert "GATEWAY_MODEL_MLFLOW=read" in message


async def test_a_prediction_that_needs_mlflow_says_so(opened: Opened, tmp_path: Path) -> None:
    """The worker goes on, and the model may catch the error, which is one of MLflow's own class."""
    code = """
        class Model(PythonModel):
            def predict(self, context, model_input, params=None):
                try:
                    mlflow.set_tag("a", "b")
                except mlflow.MlflowException as error:
                    if model_input["a"].sum() < 0:
                        raise RuntimeError from error
                return ["caught"]
    """
    files = save_code(tmp_path / "asks", code)
    async with opened() as pool:
        await load(pool, files)
        with pytest.raises(ModelError, match="GATEWAY_MODEL_MLFLOW=read"):
            await predict(pool, "asks", Job(models.body(a=[-1.0], b=[0.0])))
        assert await predict(pool, "asks", ADD) == ["caught"]


@pytest.mark.parametrize("end", ["return ['child']", "raise ValueError"])
async def test_a_forked_copy_of_a_worker_answers_nothing(opened: Opened, tmp_path: Path, end: str) -> None:
    """Whatever a child process of `predict` returns or raises, the parent's answer counts."""
    code = f"""
        import os

        class Model(PythonModel):
            def predict(self, context, model_input, params=None):
                if not (child := os.fork()):
                    {end}
                os.waitpid(child, 0)
                return [os.getpid()]
    """
    first, second = await answer(opened, save_code(tmp_path / "forks", code), ADD, ADD)
    assert first == second


async def test_a_model_without_the_python_function_flavor(opened: Opened, tmp_path: Path) -> None:
    """The error names what it has and what is missing."""
    files = save_code(tmp_path / "native", "")
    text = (files.folder / "MLmodel").read_text()
    (files.folder / "MLmodel").write_text(text.replace("python_function:", "spark:\n    x: 1\n  java:"))
    message = await load_error(opened, files)
    assert message == (
        "The model has no python_function flavor, which serving needs; it only has java, spark. "
        "Log it with one."
    )
