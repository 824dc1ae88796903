"""Errors as JSON: what a node raised is raised again by the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway import errors as gateway
from gateway.concurrency.singleflight import SingleFlightClosed
from gateway.engines.wire.fields import Fields, clean
from workers import errors as workers
from workers.protocol.messages import InputProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BASES: Final = (gateway.GatewayError, workers.WorkerError)
_UNKNOWN: Final = "The node failed on this request; its log has the details."


def error_to_dict(error: BaseException) -> dict[str, Any]:
    """Return the error as JSON has it; nothing but the fact of one that no client may see."""
    if isinstance(error, SingleFlightClosed):
        error = workers.PoolClosed(str(error))
    if not isinstance(error, _BASES):
        error = workers.WorkerError(_UNKNOWN)
    classes = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, _BASES)]
    return {"classes": classes, "message": clean(str(error)), **_extra(error)}


def error_from_dict(value: object) -> Exception:
    """Return the error, of the first of its classes that is known here. Raise WireError."""
    fields = Fields(value, "an error")
    kind = next((_KINDS[name] for name in fields.texts("classes") if name in _KINDS), workers.WorkerError)
    for base in kind.__mro__:
        if (create := _CREATE.get(base)) is not None:
            return create(kind, fields)
    return kind(fields.text("message"))


def _extra(error: BaseException) -> dict[str, Any]:
    if isinstance(error, workers.InvalidInput):
        details = [
            [cell.row, None if cell.column is None else clean(cell.column), clean(cell.reason)]
            for cell in error.details
        ]
        return {"details": details, "total": error.total}
    if isinstance(error, workers.QueueFull):
        return {"wait_seconds": error.wait_seconds}
    names: tuple[str, ...] = ()
    if isinstance(error, workers.ModelError):
        names = ("exception", "text", "log")
    elif isinstance(error, workers.EnvironmentBroken):
        names = ("digest", "package", "log")
    elif isinstance(error, workers.ModelLoadError):
        names = ("log",)
    return {name: clean(getattr(error, name)) for name in names}


def _classes(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for kind in base.__subclasses__():
        if kind.__module__ == base.__module__:
            yield from _classes(kind)


def _invalid_input(kind: type[workers.InvalidInput], fields: Fields) -> Exception:
    details = tuple(
        InputProblem(cell.optional_integer("row"), cell.optional_text("column"), cell.text("reason"))
        for cell in (_cell(item) for item in fields.items("details"))
    )
    return kind(fields.text("message"), details, total=fields.integer("total"))


def _cell(item: object) -> Fields:
    named = dict(zip(("row", "column", "reason"), item, strict=False)) if isinstance(item, list) else item
    return Fields(named, "an invalid cell")


def _queue_full(kind: type[workers.QueueFull], fields: Fields) -> Exception:
    return kind(fields.text("message"), wait_seconds=fields.seconds("wait_seconds", 0.0))


def _model_error(kind: type[workers.ModelError], fields: Fields) -> Exception:
    texts = {name: fields.text(name, "") for name in ("exception", "text", "log")}
    return kind(fields.text("message"), **texts)


def _load_error(kind: type[workers.ModelLoadError], fields: Fields) -> Exception:
    return kind(fields.text("message"), log=fields.text("log", ""))


def _environment_broken(kind: type[workers.EnvironmentBroken], fields: Fields) -> Exception:
    texts = {name: fields.text(name, "") for name in ("digest", "package", "log")}
    return kind(fields.text("message"), **texts)


_KINDS: Final = {kind.__name__: kind for base in _BASES for kind in _classes(base)}
_CREATE: Final[dict[type, Callable[[Any, Fields], Exception]]] = {
    workers.InvalidInput: _invalid_input,
    workers.QueueFull: _queue_full,
    workers.ModelError: _model_error,
    workers.ModelLoadError: _load_error,
    workers.EnvironmentBroken: _environment_broken,
}
