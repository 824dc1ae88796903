"""Tiny real models, saved to folders, for the tests of the workers and of the whole gateway."""

from __future__ import annotations

import contextlib
import ctypes
import datetime  # noqa: TC003 - MLflow reads the type hints of models
import importlib
import io
import itertools
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import mlflow.pyfunc
import mlflow.sklearn
import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.pyfunc.model import PythonModel
from mlflow.types.schema import ColSpec, DataType, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The models are pickled by value, so that a worker need not import the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

NUMBERS = ModelSignature(inputs=Schema([ColSpec(DataType.double, "a"), ColSpec(DataType.double, "b")]))


class Sums(PythonModel):
    """A model that predicts a + b, times a factor that distinguishes one model from another."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return ((model_input["a"] + model_input["b"]) * self.factor).to_numpy()


class Centred(PythonModel):
    """A model that predicts how far each row's sum lies from the mean of all rows of the call."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        sums = (model_input["a"] + model_input["b"]).to_numpy()
        return sums - sums.mean()


class Short(PythonModel):
    """A model that predicts a + b for the first four rows only."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return (model_input["a"] + model_input["b"]).to_numpy()[:4]


class Picky(PythonModel):
    """A model that predicts a + b, but raises if any `a` is below -100, and exits if any is above 1000."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        if (model_input["a"] < -100).any():
            raise ValueError("too low")
        if (model_input["a"] > 1000).any():
            raise SystemExit(3)
        return (model_input["a"] + model_input["b"]).to_numpy()


class Echo(PythonModel):
    """A model that returns its input."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return model_input


class Cells(PythonModel):
    """A model that returns the cells of its input, and how pandas holds them."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        columns = {name: list(model_input[name]) for name in model_input.columns}
        return [columns, [str(dtype) for dtype in model_input.dtypes]]


class Params(PythonModel):
    """A model that returns its params."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return params


class Returns(PythonModel):
    """A model that always returns the same value."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return self.answer


class Heavy(PythonModel):
    """A model that holds memory from its load on, in MiB, and as much as column `a` says; predicts a + b."""

    def __init__(self, mebibytes: int) -> None:
        self.mebibytes = mebibytes

    def load_context(self, context: Any) -> None:
        self.held = [os.urandom(2**20) for _ in range(self.mebibytes)]

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        missing = int(model_input["a"].max()) - len(self.held)
        self.held += [os.urandom(2**20) for _ in range(missing)]
        return (model_input["a"] + model_input["b"]).to_numpy()


class Calls(PythonModel):
    """A model whose `predict` calls another model with an input that the other rejects."""

    def __init__(self, inner: str) -> None:
        self.inner = inner

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return mlflow.pyfunc.load_model(self.inner).predict(pd.DataFrame({"other": ["x"]}))


class Wholes(PythonModel):
    """A model with a type hint for whole numbers; returns them with their types."""

    def predict(self, model_input: list[int]) -> list[str]:  # type: ignore[override] # MLflow allows it
        return [f"{type(value).__name__} {value}" for value in model_input]


class Days(PythonModel):
    """A model with a type hint for datetimes; returns their days."""

    def predict(self, model_input: list[datetime.datetime]) -> list[int]:  # type: ignore[override] # as above
        return [value.day for value in model_input]


class Reads(PythonModel):
    """A model that reads another model and a prompt from the MLflow server, and reports what it may do."""

    def load_context(self, context: Any) -> None:
        mlflow.set_experiment("api-training")
        self.inner = mlflow.pyfunc.load_model("models:/api-tens/1")
        self.prompt = mlflow.genai.load_prompt("prompts:/api-prompt/1").template

    @mlflow.trace
    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        try:
            mlflow.set_experiment("api-new")
            refusal = ""
        except mlflow.MlflowException as error:
            refusal = error.message
        return {
            "inner": self.inner.predict(model_input).tolist(),
            "prompt": self.prompt,
            "refusal": refusal,
            "environment": dict(os.environ),
        }


def _send_to_gateway(start: bytes, repeated: bytes = b"", times: int = 0) -> None:
    """Write bytes to each Unix socket of this process."""
    for entry in pathlib.Path("/proc/self/fd").iterdir():
        try:
            sock = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:
            continue
        if sock.family == socket.AF_UNIX:
            sock.sendall(start)
            for _ in range(times):
                sock.sendall(repeated)


class SeenDevice(PythonModel):
    """A model that returns the GPUs that CUDA may use, as they were when it was loaded, and its process id.

    A first cell `sleep N` has it sleep before.
    """

    def load_context(self, context: Any) -> None:
        self.visible = os.environ.get("CUDA_VISIBLE_DEVICES", "unset")

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        verb, _, rest = str(model_input["do"][0]).partition(" ")
        time.sleep(float(rest) if verb == "sleep" else 0.0)
        return [self.visible, str(os.getpid())]


class Commands(PythonModel):
    """A model that runs the commands in the cells of column `do`, in order.

    It returns what the last command returned, or its process id if none returned anything.
    """

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        result: list[Any] = [os.getpid()]
        for command in model_input["do"]:
            verb, _, rest = str(command).partition(" ")
            result = getattr(self, f"do_{verb}")(rest) or result
        return result

    def do_x(self, rest: str) -> None:
        """Do nothing."""

    def do_raise(self, rest: str) -> None:
        raise ValueError(f"{rest} in /secret/path")

    def do_exit(self, rest: str) -> None:
        raise SystemExit(3)

    def do_sleep(self, rest: str) -> None:
        time.sleep(float(rest))

    def do_wait_for(self, rest: str) -> None:
        """Wait until a file exists."""
        while not pathlib.Path(rest).exists():
            time.sleep(0.005)

    def do_note(self, rest: str) -> None:
        """Append a byte to a file, to count calls."""
        with pathlib.Path(rest).open("ab") as file:
            file.write(b".")

    def do_die(self, rest: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def do_say(self, rest: str) -> list[str]:
        return [rest]

    def do_fill(self, rest: str) -> list[str]:
        """Return a text of N bytes that repeats the digits of its own positions."""
        return ["".join(f"{position:09} " for position in range(0, int(rest), 10))]

    def do_send(self, rest: str) -> None:
        """Send `HEX` to the gateway, then N times `HEX`, and wait."""
        start, times, repeated = rest.split()
        _send_to_gateway(bytes.fromhex(start), bytes.fromhex(repeated), int(times))
        time.sleep(300)

    def do_later(self, rest: str) -> list[str]:
        """Run a command SECONDS later, in a thread, and return at once."""
        seconds, verb, arguments = rest.split(" ", 2)
        threading.Timer(float(seconds), getattr(self, f"do_{verb}"), [arguments]).start()
        return ["started"]

    def do_endless(self, rest: str) -> Iterator[Any]:
        """Return an iterator without end."""
        return itertools.repeat(0)

    def do_stall(self, rest: str) -> Iterator[Any]:
        """Return an iterator that never yields its second item."""
        yield 0
        time.sleep(300)

    def do_segfault(self, rest: str) -> None:
        ctypes.string_at(0)

    def do_quit(self, rest: str) -> None:
        os._exit(7)

    def do_eat(self, rest: str) -> None:
        """Allocate memory, in MiB, until the kernel has no more."""
        self.eaten = [os.urandom(2**20) for _ in range(int(rest))]

    def do_die_once(self, rest: str) -> None:
        try:
            os.close(os.open(rest, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def do_spawn(self, rest: str) -> list[int]:
        return [subprocess.Popen(["sleep", "300"]).pid]

    def do_fork(self, rest: str) -> list[int]:
        child = os.fork()
        if child == 0:
            time.sleep(300)
            os._exit(0)
        return [child]

    def do_run(self, rest: str) -> list[str]:
        """Run a program, as a hostile model would, and return what it prints."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            try:
                exec(rest, {})  # noqa: S102 - the tests send it
            except BaseException:  # noqa: BLE001 - the test shows it
                traceback.print_exc(file=output)
        return [output.getvalue()]

    def do_draw(self, rest: str) -> list[float]:
        return [random.random()]  # noqa: S311 - no secret is made of it

    def do_litter(self, rest: str) -> list[str]:
        """Create a temporary file that the model never removes."""
        return [tempfile.mkstemp()[1]]

    def do_trace(self, rest: str) -> list[bool]:
        """Return whether the span that the model starts is the current one."""
        with mlflow.start_span(rest) as span:
            current: Any = mlflow.get_current_active_span()
            current.set_attributes({"cells": 1})
            return [current.span_id == span.span_id]

    def do_environ(self, rest: str) -> list[dict[str, str]]:
        return [dict(os.environ)]


class Streams(Commands):
    """A model that streams what the commands in the cell of `do` yield; `; ` separates them."""

    def predict_stream(self, context: Any, model_input: dict[str, str], params: Any = None) -> Iterator[Any]:
        for command in model_input["do"].split("; "):
            verb, _, rest = command.partition(" ")
            yield from getattr(self, f"stream_{verb}")(rest)

    def stream_count(self, rest: str) -> Iterator[Any]:
        """Yield `N` chunks; optionally sleep SECONDS after each, and write to FILE how the stream ended."""
        number, *more = rest.split()
        seconds = float(more[0]) if more else 0.0
        file = more[1] if more[1:] else ""
        ended = "early"
        try:
            for n in range(int(number)):
                yield {"n": n, "pid": os.getpid(), "made": time.time()}
                time.sleep(seconds)
            ended = "whole"
        finally:
            if file:
                pathlib.Path(file).write_text(f"{ended} {os.getpid()}")

    def stream_fill(self, rest: str) -> Iterator[Any]:
        """Yield chunks of 100 000 characters without end, and append a byte to a file for each."""
        while True:
            with pathlib.Path(rest).open("ab") as file:
                file.write(b".")
            yield "x" * 100_000

    def stream_fill_once(self, rest: str) -> Iterator[Any]:
        yield self.do_fill(rest)

    def stream_say(self, rest: str) -> Iterator[Any]:
        yield from rest.split()

    def stream_odd(self, rest: str) -> Iterator[Any]:
        """Yield values that JSON lacks, and at last an object that cannot be encoded."""
        yield {"nan": float("nan"), "inf": float("-inf"), "bytes": b"\0", "line": "a\nb"}
        yield object()

    def stream_refuse_to_close(self, rest: str) -> Iterator[Any]:
        try:
            yield 1
            yield 2
        finally:
            raise ValueError("not in order, /secret/path")

    def stream_hang_on_close(self, rest: str) -> Iterator[Any]:
        try:
            yield 1
        finally:
            time.sleep(300)

    def stream_raise(self, rest: str) -> Iterator[Any]:
        self.do_raise(rest)
        yield None

    def stream_exit(self, rest: str) -> Iterator[Any]:
        self.do_exit(rest)
        yield None

    def stream_sleep(self, rest: str) -> Iterator[Any]:
        self.do_sleep(rest)
        yield None

    def stream_note(self, rest: str) -> Iterator[Any]:
        self.do_note(rest)
        yield from ()

    def stream_wait_for(self, rest: str) -> Iterator[Any]:
        self.do_wait_for(rest)
        yield from ()

    def stream_die(self, rest: str) -> Iterator[Any]:
        self.do_die(rest)
        yield None

    def stream_die_once(self, rest: str) -> Iterator[Any]:
        self.do_die_once(rest)
        yield {"pid": os.getpid()}


class Broken(PythonModel):
    """A model whose load fails.

    `how`: `raise`, `import` (a package is missing), `hang`, `die`, `dies SECONDS` after its load, `slow
    SECONDS`, `once FILE` (only the first load fails), or `later FILE` (all but the first fail).
    """

    def __init__(self, how: str) -> None:
        self.how = how

    def load_context(self, context: Any) -> None:
        if self.how == "raise":
            raise RuntimeError("weights are at /secret/path")
        if self.how == "import":
            importlib.import_module("a_missing_package")
        if self.how == "hang":
            time.sleep(300)
        if self.how == "die":
            os._exit(9)
        if self.how.startswith("later "):
            os.close(os.open(self.how.removeprefix("later "), os.O_CREAT | os.O_EXCL))
        if self.how.startswith("dies "):
            threading.Timer(float(self.how.removeprefix("dies ")), os._exit, (9,)).start()
        if self.how.startswith("slow "):
            time.sleep(float(self.how.removeprefix("slow ")))
        if self.how.startswith("once "):
            try:
                os.close(os.open(self.how.removeprefix("once "), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            raise RuntimeError("the first load fails")

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return [1.0]


class WaitsAtLoad(PythonModel):
    """A model whose load lasts until a file exists; without it the load never ends."""

    def __init__(self, file: str) -> None:
        self.file = file

    def load_context(self, context: Any) -> None:
        while not pathlib.Path(self.file).exists():
            time.sleep(0.01)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return [1.0]


class SendsAtLoad(PythonModel):
    """A model that sends bytes to the gateway while it loads, and never finishes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def load_context(self, context: Any) -> None:
        _send_to_gateway(self.data)
        time.sleep(300)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return [1.0]


COMMANDS = ModelSignature(inputs=Schema([ColSpec(DataType.string, "do")]))


def save(folder: Path, model: PythonModel, *, signature: ModelSignature | None = None) -> Path:
    """Save the model to `folder` in MLflow's format, and return `folder`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no input example
        mlflow.pyfunc.save_model(folder, python_model=model, signature=signature, pip_requirements=["mlflow"])
    return folder


def body(**columns: list[Any]) -> bytes:
    """Return a `dataframe_split` body of these columns."""
    return b'{"dataframe_split":' + pd.DataFrame(columns).to_json(orient="split", index=False).encode() + b"}"


def save_sklearn(folder: Path, estimator: Any, example: pd.DataFrame, *, with_example: bool = True) -> Path:
    """Save a fitted estimator with the signature of `example` to `folder`, and return `folder`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that these are pickles
        mlflow.sklearn.save_model(
            estimator,
            folder,
            signature=infer_signature(example, estimator.predict(example)),
            input_example=example.head(3) if with_example else None,
            pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
        )
    return folder
