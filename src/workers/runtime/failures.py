"""Turn exceptions into `Failure` messages, since no exception crosses the process boundary.

A model chooses the class of what it raises, so nothing of an exception is trusted: its attributes and its
text may raise, or be of any type and size. No function here raises.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from typing import TYPE_CHECKING, Any, TypeVar

from workers.codec.input_errors import limit_details
from workers.errors import (
    InvalidInput,
    ModelError,
    ModelLoadError,
    NotAcceptable,
    UnsupportedMediaType,
)
from workers.protocol.messages import DEFAULT_DETAILS, Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class MlflowAccessDenied(Exception):
    """The model asked MLflow for something that the settings do not let models do. The client reads this."""


NO_MODEL = Failure("load", "The worker holds no model.")
_MODULE = re.compile(r"\w{1,100}(?:\.\w{1,100}){0,9}", re.ASCII)
_MAX_CAUSES = 100
_MAX_TEXT_CHARS = 2_000
_MAX_LOG_CHARS = 20_000
_UNFORMATTED = "(the traceback could not be formatted)"
_READ_NAME: Any = type.__dict__["__name__"].__get__  # a metaclass may hide it
_READ_TRACEBACK: Any = BaseException.__dict__["__traceback__"].__get__  # and a class this


def from_load_error(error: BaseException) -> Failure:
    """Describe why the model could not be loaded. Call it while `error` is handled."""
    message = _attempt(lambda: _load_error_message(error), "Loading the model raised an exception.")
    return Failure("load", message, log=_format_traceback(error))


def from_predict_error(error: BaseException, *, max_details: int = DEFAULT_DETAILS) -> Failure:
    """Describe why a request could not be answered. Call it while `error` is handled.

    `max_details` is the number of invalid cells that are named.
    """
    kind = _failure_kind(type(error))
    failure = _attempt(lambda: _own_failure(error, kind, max_details), None) if kind is not None else None
    return failure or _foreign_failure(error)


def _failure_kind(error_type: type[BaseException]) -> FailureKind | None:
    """Return the kind of a failure that this package raised; None for exceptions of others."""
    # Not isinstance(): it asks the exception for its `__class__`.
    return next((kind for base, kind in _KINDS if issubclass(error_type, base)), None)


def _own_failure(error: Any, kind: FailureKind, max_details: int) -> Failure:
    if kind == "input":
        shown = limit_details(error, max_details)
        log = _format_traceback(error)
        return Failure(kind, str(shown), details=shown.details, details_total=shown.total, log=log)
    return Failure(kind, str(error), exception=error.exception if kind == "model" else "")


def _foreign_failure(error: BaseException) -> Failure:
    name = _attempt(lambda: _type_name(error), "an exception")
    denied = _mlflow_denial(error)
    return Failure(
        "model",
        f"The model raised {name}. {denied}".rstrip(),
        exception=name,
        text=_attempt(lambda: _plain(str(error))[:_MAX_TEXT_CHARS], ""),
        log=_format_traceback(error),
    )


def _load_error_message(error: BaseException) -> str:
    if issubclass(type(error), ModuleNotFoundError):
        name = _attempt(lambda: _plain(error.name), "")  # type: ignore[attr-defined] # by its type
        if _MODULE.fullmatch(name):  # no path, or what else a model gives as a name
            return _missing_module(name)
    if issubclass(type(error), ModelLoadError):
        return str(error)
    if denied := _mlflow_denial(error):
        return f"The model could not be loaded. {denied}"
    return f"Loading the model raised {_type_name(error)}."


def _missing_module(name: str) -> str:
    """Say which module is missing. A version of a package may lack modules that another one has."""
    package = name.partition(".")[0]
    if _attempt(lambda: _is_importable(package), default=False):
        return (
            f"The model needs the Python module {name}, which the installed version of {package} does not "
            "have. The model may need another version of it."
        )
    if package.startswith("_"):  # such as `_loss`, by which estimators of scikit-learn are pickled
        return (
            f"The model needs the Python module {package}, which is not installed here. It may be "
            "a part of a package that is installed in another version than the model needs."
        )
    return f"The model needs the Python package {package}, which is not installed here."


def _is_importable(package: str) -> bool:
    return package in sys.modules or importlib.util.find_spec(package) is not None


def _mlflow_denial(error: BaseException) -> str:
    """Return the text of the refused call to MLflow that `error` is, or comes from; empty for others."""
    return _attempt(lambda: next(_denials(error), "")[:_MAX_TEXT_CHARS], "")


def _denials(error: BaseException) -> Iterator[str]:
    return (_plain(str(one)) for one in _causes(error) if issubclass(type(one), MlflowAccessDenied))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, what caused it, and so on."""
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def _format_traceback(error: BaseException) -> str:
    """Return the traceback; without the exceptions' texts and causes if these cannot be formatted."""
    whole = _attempt(lambda: traceback.format_exc()[-_MAX_LOG_CHARS:], "")
    return whole or _attempt(lambda: _format_frames(error)[-_MAX_LOG_CHARS:], _UNFORMATTED)


def _format_frames(error: BaseException) -> str:
    frames = traceback.format_tb(_READ_TRACEBACK(error))
    return f"{''.join(frames)}{_type_name(error)}: {_UNFORMATTED}"


def _type_name(error: BaseException) -> str:
    return _plain(_READ_NAME(type(error)))


def _plain(text: str) -> str:
    """Return a string without the class that a model may have given it. Raises TypeError for others."""
    return str.__str__(text)


def _attempt(function: Callable[[], T], default: T) -> T:
    try:
        return function()
    except BaseException:  # noqa: BLE001 - SystemExit too: what a model raises must not end the worker
        return default


_KINDS: tuple[tuple[type[BaseException], FailureKind], ...] = (
    (InvalidInput, "input"),
    (UnsupportedMediaType, "type"),
    (NotAcceptable, "answer"),
    (ModelError, "model"),
)
