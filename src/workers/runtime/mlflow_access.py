"""Decide what model code can do with MLflow's client: nothing, or read.

MLflow finds the store of an address by its scheme. A worker registers stores of its own there, for the
address that its environment names. They refuse what the operator has not allowed, in words that name the
setting. They discard traces: a model can make spans as usual, and nothing is sent anywhere.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.store.model_registry.abstract_store import AbstractStore as RegistryStore
from mlflow.store.model_registry.rest_store import RestStore as RegistryRestStore
from mlflow.store.tracking.abstract_store import AbstractStore as TrackingStore
from mlflow.store.tracking.rest_store import RestStore as TrackingRestStore
from mlflow.tracing.constant import SpansLocation, TraceTagKey
from mlflow.tracking._model_registry.utils import _get_store_registry
from mlflow.tracking._tracking_service.utils import _tracking_store_registry
from mlflow.utils.credentials import get_default_host_creds

from workers.environment import NO_MLFLOW_URI
from workers.runtime.failures import MlflowAccessDenied

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow.entities import TraceInfo
    from mlflow.tracking.registry import StoreRegistry

# MLflow builds it when it is first used, which takes milliseconds: here once, in the fork server.
_MODEL_STORES: Final = _get_store_registry()
_READING: Final = ("get_", "search_", "list_", "batch_get_", "find_", "query_", "supports_", "filter_")
_WRITING: Final = frozenset({"get_or_create_user_queue"})  # despite its name
_ENDING: Final = frozenset({"end_async_logging", "flush_async_logging", "shut_down_async_logging"})
_NO_ACCESS: Final = (
    "models have no access to MLflow here. GATEWAY_MODEL_MLFLOW=read lets models read from the MLflow server."
)
_READ_ONLY: Final = "models can only read from MLflow here."


class _Refused(MlflowException, MlflowAccessDenied):
    """What a model's call to MLflow raises: MLflow's own class, as model code expects."""


class _DiscardedTraces:
    """A part of a tracking store that accepts traces and keeps nothing of them."""

    def start_trace(self, trace_info: TraceInfo) -> TraceInfo:
        """Return `trace_info` as if it were stored, with its spans: MLflow then uploads nothing."""
        trace_info.tags[TraceTagKey.SPANS_LOCATION] = SpansLocation.TRACKING_STORE.value
        return trace_info

    def log_spans(self, location: str, spans: list[Any], tracking_uri: str | None = None) -> list[Any]:
        """Return `spans` as if they were stored."""
        return spans

    def link_prompts_to_trace(self, *args: Any, **options: Any) -> None:
        """Do nothing: there is no trace."""


def install() -> None:
    """Make MLflow use these stores for the addresses that the environment names."""
    for name, registry, read_store, no_store in (
        ("MLFLOW_TRACKING_URI", _tracking_store_registry, _ReadTrackingStore, _NoTrackingStore),
        ("MLFLOW_REGISTRY_URI", _MODEL_STORES, _ReadRegistryStore, _NoRegistryStore),
    ):
        uri = os.environ.get(name) or os.environ.get("MLFLOW_TRACKING_URI", NO_MLFLOW_URI)
        registry.register(NO_MLFLOW_URI.partition(":")[0], lambda *_, store=no_store, **__: store())
        if uri.startswith(("http:", "https:")):
            _register_read_only(registry, uri, read_store)


def _register_read_only(registry: StoreRegistry, uri: str, read_store: Callable[..., Any]) -> None:
    """Use `read_store` for `uri`; another address, which model code has set itself, keeps MLflow's store."""
    scheme = uri.partition(":")[0]
    general = registry.get_store_builder(uri)

    def build(store_uri: str, *args: Any, **options: Any) -> Any:
        if store_uri == uri:
            return read_store(partial(get_default_host_creds, store_uri))
        return general(store_uri, *args, **options)

    registry.register(scheme, build)


def _restricted(base: type, *, allowed: Callable[[str], bool], reason: str) -> type:
    """Return a subclass of `base` whose public methods raise, unless their names are `allowed`."""
    refusing = {
        name: _refusal(name, reason)
        for name in dir(base)
        if not name.startswith("_") and callable(getattr(base, name)) and not allowed(name)
    }
    return type(f"Restricted{base.__name__}", (base,), refusing)


def _refusal(name: str, reason: str) -> Callable[..., NoReturn]:
    call = name.replace("_", " ")

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise _Refused(f'The model asked MLflow to "{call}", but {reason}', error_code=PERMISSION_DENIED)

    return refuse


def _is_reading(name: str) -> bool:
    return name in _ENDING or (name.startswith(_READING) and name not in _WRITING)


def _never(name: str) -> bool:
    return name in _ENDING or name.startswith("supports_")


_without_access = partial(_restricted, allowed=_never, reason=_NO_ACCESS)
_reading = partial(_restricted, allowed=_is_reading, reason=_READ_ONLY)
_NoTrackingStore: Final = type("NoTrackingStore", (_DiscardedTraces, _without_access(TrackingStore)), {})
_NoRegistryStore: Final = _without_access(RegistryStore)
_ReadTrackingStore: Final = type("ReadTrackingStore", (_DiscardedTraces, _reading(TrackingRestStore)), {})
_ReadRegistryStore: Final = _reading(RegistryRestStore)
