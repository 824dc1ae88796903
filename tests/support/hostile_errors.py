"""Exceptions that cannot be described, and models that raise them: in a prediction, a stream or a load."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
from mlflow.pyfunc.model import PythonModel

from workers.errors import InvalidInput, ModelError, NotAcceptable, UnsupportedMediaType
from workers.protocol.messages import InputProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class OddText(str):
    """A text that can be neither cut nor encoded."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> str:
        raise SystemExit("text")

    def encode(self, *args: Any, **options: Any) -> bytes:
        raise SystemExit("encode")

    def partition(self, sep: str) -> tuple[str, str, str]:
        raise SystemExit("partition")


def _recurse(error: BaseException) -> str:
    return f"again: {error}"


def _raise(error: BaseException) -> Any:
    raise error


def _error(base: type[BaseException] = ValueError, /, **attributes: object) -> BaseException:
    """Return an exception of a new class with these attributes."""
    created: BaseException = type("Odd", (base,), attributes)()
    return created


def _named(name: str) -> BaseException:
    created: BaseException = type(name, (ValueError,), {})()
    return created


def _nameless() -> BaseException:
    """Return an exception whose class does not tell its name."""
    hidden = property(lambda _: _raise(SystemExit("name")))
    metaclass = type("Hidden", (type,), {"__name__": hidden, "__module__": hidden})
    created: BaseException = metaclass("Nameless", (ValueError,), {})()
    return created


def _with_cause(cause: BaseException) -> BaseException:
    error = ValueError("effect")
    error.__cause__ = cause
    return error


def _circle() -> BaseException:
    """Return an exception whose cause's cause is the exception."""
    error = ValueError("cause")
    error.__cause__ = _with_cause(error)
    return error


def _nested_group(depth: int) -> BaseException:
    error: Exception = ValueError("inmost")
    for _ in range(depth):
        error = ExceptionGroup("group", [error])
    return error


def _long_chain(length: int) -> BaseException:
    error = ValueError("first")
    for number in range(length):
        following = ValueError(str(number))
        following.__context__ = error
        error = following
    return error


def _noted(notes: Any) -> BaseException:
    error = ValueError("noted")
    error.__notes__ = notes
    return error


def _own(error: Any, **attributes: Any) -> BaseException:
    """Return one of the gateway's own errors with attributes of other types."""
    for name, value in attributes.items():
        setattr(error, name, value)
    return error  # type: ignore[no-any-return] # one of the callers' exceptions


def _hiding(name: str) -> BaseException:
    """Return an exception one of whose attributes raises."""
    return _error(ValueError, **{name: property(lambda _: _raise(KeyboardInterrupt(name)))})


def _raises(method: str, error: BaseException) -> BaseException:
    return _error(ValueError, **{method: lambda _: _raise(error)})


ERRORS: dict[str, Callable[[], BaseException]] = {
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "generator-exit": GeneratorExit,
    "cancelled": asyncio.CancelledError,
    "base": lambda: _error(BaseException),
    "recursion": RecursionError,
    "memory": MemoryError,
    "str-raises": lambda: _raises("__str__", ValueError("inner")),
    "str-exits": lambda: _raises("__str__", SystemExit(4)),
    "str-interrupts": lambda: _raises("__str__", KeyboardInterrupt()),
    "str-recurses": lambda: _error(__str__=_recurse),
    "str-no-text": lambda: _error(__str__=lambda _: 5),
    "str-odd-text": lambda: _error(__str__=lambda _: OddText("odd")),
    "str-surrogates": lambda: ValueError("\ud800 \udfff"),
    "str-huge": lambda: ValueError("\x01" * 5_000_000),
    "repr-raises": lambda: _raises("__repr__", SystemExit(4)),
    "key-error": lambda: KeyError(_error(__repr__=lambda _: _raise(SystemExit(4)))),
    "class-raises": lambda: _hiding("__class__"),
    "traceback-raises": lambda: _hiding("__traceback__"),
    "cause-raises": lambda: _hiding("__cause__"),
    "context-raises": lambda: _hiding("__context__"),
    "notes-raise": lambda: _hiding("__notes__"),
    "odd-notes": lambda: _noted([OddText("note"), 5, _error()]),
    "no-notes": lambda: _noted(7),
    "long-name": lambda: _named("N" * 1_000_000),
    "odd-name": lambda: _named(OddText("Odd")),
    "nameless": _nameless,
    "odd-cause": lambda: _with_cause(_raises("__str__", SystemExit(4))),
    "own-cause": _circle,
    "group": lambda: BaseExceptionGroup("group", [SystemExit(3), KeyboardInterrupt(), _error()]),
    "nested-group": lambda: _nested_group(3000),
    "long-chain": lambda: _long_chain(2_000),
    "surrogate-module": lambda: _error(__module__="\ud800"),
    "syntax-error": lambda: SyntaxError("\ud800", ("\udfff", "x", "y", 5)),  # type: ignore[arg-type] # on purpose
    "unicode-error": lambda: UnicodeDecodeError("utf-8", b"\xff" * 100, 0, 1, "\ud800"),
    "model-error": lambda: _own(ModelError("m"), exception=7, text=object()),
    "model-error-surrogates": lambda: ModelError("\ud800", exception="\ud800" * 5000),
    "model-error-odd-text": lambda: ModelError(OddText("m"), exception=OddText("e")),
}
"""Each must reach the client as the model's fault."""

REFUSALS: dict[str, Callable[[], BaseException]] = {
    "int-column": lambda: InvalidInput("m", (InputProblem(0, 5, "r"),)),  # type: ignore[arg-type] # on purpose
    "odd-column": lambda: InvalidInput("m", (InputProblem(0, OddText("c"), "r"),)),
    "tuple-column": lambda: InvalidInput("m", (InputProblem(0, ("a", 1), "r"),)),  # type: ignore[arg-type] # on purpose
    "float-row": lambda: InvalidInput("m", (InputProblem(1.5, "c", "r"),)),  # type: ignore[arg-type] # on purpose
    "wide-row": lambda: InvalidInput("m", (InputProblem(2**70, "c", "r"),)),
    "no-reason": lambda: InvalidInput("m", (InputProblem(0, "c", None),)),  # type: ignore[arg-type] # on purpose
    "surrogates": lambda: InvalidInput("\ud800", (InputProblem(0, "\ud800", "\udfff"),)),
    "many-details": lambda: InvalidInput(
        "m" * 10**6, (InputProblem(0, "\x01" * 10**5, "\x01" * 10**5),) * 500
    ),
    "details-list": lambda: _own(InvalidInput("m"), details=[InputProblem(0, "c", "r")]),
    "no-text": lambda: InvalidInput(5),  # type: ignore[arg-type] # on purpose
    "type": lambda: UnsupportedMediaType("\ud800" * 10**6),
    "answer": lambda: NotAcceptable(OddText("m")),
}
"""The gateway's own errors, of which each must keep its kind."""


class Unencodable:
    """A prediction that raises an error when it is written."""

    def __init__(self, name: str) -> None:
        self._name = name

    def toarray(self) -> Any:
        """Raise the error, as a sparse matrix for which there is no memory does."""
        raise_named(self._name)


class Raises(PythonModel):
    """A model that raises the error that a cell names, or returns a prediction that does.

    Otherwise it returns its process id.
    """

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        verb, _, name = str(model_input["do"].iloc[0]).partition(" ")
        if verb == "encode":
            return Unencodable(name)
        raise_named(verb)
        return [os.getpid()]

    def predict_stream(self, context: Any, model_input: dict[str, str], params: Any = None) -> Iterator[Any]:
        yield os.getpid()
        raise_named(model_input["do"])


class RaisesAtLoad(PythonModel):
    """A model whose load raises one of the errors."""

    def __init__(self, name: str) -> None:
        self.name = name

    def load_context(self, context: Any) -> None:
        raise_named(self.name)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return [1.0]


def raise_named(name: str) -> None:
    """Raise the error with this name; nothing if there is none."""
    globals().update(_classes_of_worker())
    if (create := {**ERRORS, **REFUSALS, **LOAD_ERRORS}.get(name)) is not None:
        raise create()


def _classes_of_worker() -> dict[str, Any]:
    """Return the errors that this worker itself knows: a model that imports them gets copies."""
    frame: Any = sys._getframe()
    while frame is not None and "failures" not in frame.f_globals:
        frame = frame.f_back
    names = (
        InvalidInput.__name__,
        ModelError.__name__,
        NotAcceptable.__name__,
        UnsupportedMediaType.__name__,
    )
    return {name: getattr(frame.f_globals["failures"], name) for name in names} if frame else {}


LOAD_ERRORS: dict[str, Callable[[], BaseException]] = {
    "missing-number": lambda: ModuleNotFoundError(name=5),  # type: ignore[arg-type] # on purpose
    "missing-odd-text": lambda: ModuleNotFoundError(name=OddText("odd.name")),
    "missing-surrogates": lambda: ModuleNotFoundError(name="\ud800"),
    "missing-hidden": lambda: _error(ModuleNotFoundError, name=property(lambda _: _raise(SystemExit(4)))),
}
