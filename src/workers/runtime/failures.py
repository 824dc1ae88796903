"""Turn exceptions into `Failure` messages, since no exception crosses the process boundary."""

from __future__ import annotations

import traceback

from workers.errors import (
    InvalidInput,
    MlflowAccessDenied,
    ModelError,
    ModelLoadError,
    NotAcceptable,
    UnsupportedMediaType,
)
from workers.protocol.messages import Failure

NO_MODEL = Failure("load", "The worker holds no model.")
_MAX_TEXT_CHARS = 2_000
_MAX_LOG_CHARS = 20_000


def from_load_error(error: BaseException) -> Failure:
    """Describe why the model could not be loaded. Call it while `error` is handled."""
    return Failure("load", _load_error_message(error), log=_format_traceback())


def from_predict_error(error: BaseException) -> Failure:
    """Describe why a request could not be answered. Call it while `error` is handled."""
    if isinstance(error, InvalidInput):
        return Failure("input", str(error), details=error.details, log=_format_traceback())
    if isinstance(error, UnsupportedMediaType):
        return Failure("type", str(error))
    if isinstance(error, NotAcceptable):
        return Failure("answer", str(error))
    if isinstance(error, ModelError):
        return Failure("model", str(error), exception=error.exception)
    name = type(error).__name__
    denied = _mlflow_denial(error)
    return Failure(
        "model",
        f"The model raised {name}." if denied is None else f"The model raised {name}. {denied}",
        exception=name,
        text=_error_text(error)[:_MAX_TEXT_CHARS],
        log=_format_traceback(),
    )


def _load_error_message(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        return f"The model needs the Python package {package}, which is not installed here."
    if isinstance(error, ModelLoadError):
        return str(error)
    if (denied := _mlflow_denial(error)) is not None:
        return f"The model could not be loaded. {denied}"
    return f"Loading the model raised {type(error).__name__}."


def _mlflow_denial(error: BaseException) -> MlflowAccessDenied | None:
    """Return the refused call to MLflow that `error` is, or comes from."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, MlflowAccessDenied):
            return cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return None


def _error_text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise
        return ""


def _format_traceback() -> str:
    try:
        return traceback.format_exc()[-_MAX_LOG_CHARS:]
    except Exception:  # noqa: BLE001 - an exception's own __str__ may raise
        return "(the traceback could not be formatted)"
