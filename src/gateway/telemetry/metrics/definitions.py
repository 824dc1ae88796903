"""The definition of every metric: its name, type, labels and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from gateway.artifacts.cache import CACHE_CORRUPTIONS, DOWNLOAD_DURATION, DOWNLOADED_BYTES, DOWNLOADS
from gateway.artifacts.storage import EVICTIONS
from gateway.auth.audit import AUDIT_LINES_LOST
from gateway.auth.limits.refusals import RATE_LIMITED
from gateway.catalog.availability import MLFLOW_REQUESTS
from gateway.catalog.catalog import STALE_HITS
from gateway.catalog.hidden import HIDDEN_EXPERIMENTS
from gateway.engines.fleet.metrics import FLEET_COUNTER_SPECS
from gateway.engines.local import MODEL_LOAD_DURATION
from gateway.engines.ray.keeper_process import KEEPER_EXITS
from gateway.environments.environments import BUILD_DURATION, BUILDS
from gateway.environments.store import EVICTIONS as ENVIRONMENT_EVICTIONS
from gateway.errors import INTERNAL_ERRORS
from gateway.serving import phases
from gateway.serving.rollover import VERSION_SWITCHES
from gateway.telemetry.metrics.requests import PREDICTIONS, REQUESTS
from workers.metrics import COUNTER_SPECS, DURATION_BOUNDS, HISTOGRAM_SPECS, CounterSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.metrics import HistogramSpec

Kind = Literal["counter", "gauge", "histogram"]

_VERSION_LABELS: Final = ("model", "version")
_NODE_LABELS: Final = ("node",)


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A metric; `name` is its name on the page, for a counter without `_total`.

    A `per_process` metric has one sample for each gateway process, and the process as its first label. Any
    other counter or histogram is the sum over the processes, and any other gauge the same in all of them.
    `bounds` are those of a histogram's buckets.
    """

    name: str
    documentation: str
    kind: Kind
    labels: tuple[str, ...] = ()
    per_process: bool = False
    bounds: tuple[float, ...] = DURATION_BOUNDS

    @property
    def exposed_name(self) -> str:
        """The name on the page."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    @property
    def exposed_labels(self) -> tuple[str, ...]:
        """The labels on the page."""
        return ("process", *self.labels) if self.per_process else self.labels

    @property
    def value_count(self) -> int:
        """The number of values of a series: of a histogram, those of its buckets and the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


PROCESS_STARTS: Final = CounterSpec(
    "process_starts", "Gateway processes started, including replacements of dead ones."
)


def to_metric_spec(counter: CounterSpec) -> MetricSpec:
    """Return the metric that exposes a counter."""
    return MetricSpec(f"gateway_{counter.name}", counter.documentation, "counter", counter.labels)


def to_histogram_metric(histogram: HistogramSpec) -> MetricSpec:
    """Return the metric that exposes a histogram."""
    name, documentation = f"gateway_{histogram.name}", histogram.documentation
    return MetricSpec(name, documentation, "histogram", histogram.labels, bounds=histogram.bounds)


def _gauge(name: str, documentation: str, labels: tuple[str, ...] = ()) -> MetricSpec:
    return MetricSpec(f"gateway_{name}", documentation, "gauge", labels, per_process=True)


def _process_metric(name: str, documentation: str, kind: Kind = "gauge") -> MetricSpec:
    return MetricSpec(f"process_{name}", documentation, kind, per_process=True)


COUNTERS: Final = tuple(
    map(
        to_metric_spec,
        (
            REQUESTS,
            PREDICTIONS,
            RATE_LIMITED,
            AUDIT_LINES_LOST,
            INTERNAL_ERRORS,
            STALE_HITS,
            HIDDEN_EXPERIMENTS,
            VERSION_SWITCHES,
            MLFLOW_REQUESTS,
            DOWNLOADS,
            DOWNLOADED_BYTES,
            CACHE_CORRUPTIONS,
            EVICTIONS,
            BUILDS,
            ENVIRONMENT_EVICTIONS,
            KEEPER_EXITS,
            *COUNTER_SPECS,
            *FLEET_COUNTER_SPECS,
            PROCESS_STARTS,
        ),
    )
)
PREDICTION_DURATION: Final = MetricSpec(
    "gateway_prediction_duration_seconds",
    "Seconds from a prediction request to its response, for a stream or an answer of more than 1 MiB to its"
    " end, by class of status.",
    "histogram",
    ("code",),
)
MODEL_PREDICTION_DURATION: Final = to_histogram_metric(phases.MODEL_PREDICTION_DURATION)
HISTOGRAMS: Final = (
    PREDICTION_DURATION,
    MODEL_PREDICTION_DURATION,
    *map(
        to_histogram_metric,
        (phases.PHASE_DURATION, *HISTOGRAM_SPECS, MODEL_LOAD_DURATION, DOWNLOAD_DURATION, BUILD_DURATION),
    ),
)

BUILD_INFO: Final = MetricSpec(
    "gateway_build_info",
    "1; the labels are the versions of the gateway, of Python and of the MLflow that loads the models.",
    "gauge",
    ("version", "python", "mlflow"),
)
READY: Final = _gauge("ready", "1 if the gateway is ready for requests, as /health/ready decides.")
DRAINING: Final = _gauge("draining", "1 while the gateway is shutting down.")
MLFLOW_UP: Final = _gauge("mlflow_up", "1 if the last call to MLflow succeeded.")
PINNED_MODELS_FAILING: Final = _gauge(
    "pinned_models_failing", "Pinned models that could not be loaded at the last try."
)
REQUESTS_IN_FLIGHT: Final = _gauge(
    "requests_in_flight", "Requests in flight, including the one for this page."
)
MODELS_LOADED: Final = _gauge("models_loaded", "Model versions that are loaded.")
MODELS_LOADING: Final = _gauge("models_loading", "Model versions that are being loaded.")
WORKERS: Final = _gauge("workers", "Warm worker processes of a loaded version.", _VERSION_LABELS)
QUEUED_REQUESTS: Final = _gauge(
    "queued_requests", "Requests that wait for a worker of a loaded version.", _VERSION_LABELS
)
ACTIVE_PREDICTIONS: Final = _gauge(
    "active_predictions", "Requests that workers of a loaded version are running.", _VERSION_LABELS
)
MODEL_MEMORY: Final = _gauge(
    "model_memory_bytes",
    "Memory of the workers of a loaded version, without what they share with the fork server (PSS).",
    _VERSION_LABELS,
)
BASE_MEMORY: Final = _gauge(
    "base_memory_bytes",
    "Memory of the gateway process and the fork servers, shared with workers or not (PSS).",
)
ENVIRONMENTS_RUNNING: Final = _gauge(
    "environments_running",
    "Python environments of models, other than the gateway's own, that have processes.",
)
ENVIRONMENT_MEMORY: Final = _gauge(
    "environment_memory_bytes",
    "The part of the base memory that a Python environment's fork server has, by the start of its digest.",
    ("environment",),
)
MEMORY_LIMIT: Final = _gauge(
    "memory_limit_bytes", "Limit for all of that together; absent if there is no limit."
)
GPU_SHARE_TAKEN: Final = _gauge(
    "gpu_share_taken", "The part of a GPU that models have, from 0 to 1.", ("gpu",)
)
GPU_MEMORY: Final = _gauge(
    "gpu_memory_bytes", "Memory of a GPU in use by any program, measured while models have GPUs.", ("gpu",)
)
GPU_MEMORY_TOTAL: Final = _gauge("gpu_memory_total_bytes", "Memory of a GPU.", ("gpu",))
NODE_UP: Final = _gauge(
    "node_up",
    "1 if a node of the fleet is connected; of the node other, if all are that have no series of their own.",
    _NODE_LABELS,
)
NODE_MODELS: Final = _gauge("node_models", "Model versions that are warm on a node.", _NODE_LABELS)
NODE_MEMORY: Final = _gauge(
    "node_memory_bytes", "Memory of a node's processes and workers, as it measured last (PSS).", _NODE_LABELS
)
NODE_MEMORY_LIMIT: Final = _gauge(
    "node_memory_limit_bytes", "Limit for that memory; absent if the node has none.", _NODE_LABELS
)
NODE_IN_FLIGHT: Final = _gauge(
    "node_in_flight", "Requests of this gateway process that a node has not answered yet.", _NODE_LABELS
)
NODE_ROUND_TRIP: Final = _gauge(
    "node_round_trip_seconds",
    "Last measured round trip to a node and back; of the node other, the longest.",
    _NODE_LABELS,
)
EVENT_LOOP_LAG: Final = _gauge(
    "event_loop_lag_seconds", "Longest delay of the event loop in the last 30 to 60 seconds."
)
ASYNCIO_TASKS: Final = _gauge(
    "asyncio_tasks",
    "Tasks of the event loop: one for each connection and request, some for each loaded model.",
)
ENVIRONMENTS_BYTES: Final = _gauge(
    "environments_bytes",
    "Disk that environments of model versions take, with uv's cache beside them; measured every 5 minutes.",
)
WORKER_WALL: Final = _gauge(
    "worker_wall",
    "1 if workers are confined completely, by mode, version of Landlock and whether there is seccomp.",
    ("mode", "landlock", "seccomp"),
)
SNAPSHOT_AGE: Final = _gauge(
    "snapshot_age_seconds",
    "Age of a process' metrics; a process that is dead or stuck has no other gauges after 10 seconds.",
)
GAUGES: Final = (
    BUILD_INFO,
    READY,
    DRAINING,
    MLFLOW_UP,
    PINNED_MODELS_FAILING,
    REQUESTS_IN_FLIGHT,
    MODELS_LOADED,
    MODELS_LOADING,
    WORKERS,
    QUEUED_REQUESTS,
    ACTIVE_PREDICTIONS,
    MODEL_MEMORY,
    BASE_MEMORY,
    ENVIRONMENTS_RUNNING,
    ENVIRONMENT_MEMORY,
    MEMORY_LIMIT,
    GPU_SHARE_TAKEN,
    GPU_MEMORY,
    GPU_MEMORY_TOTAL,
    NODE_UP,
    NODE_MODELS,
    NODE_MEMORY,
    NODE_MEMORY_LIMIT,
    NODE_IN_FLIGHT,
    NODE_ROUND_TRIP,
    EVENT_LOOP_LAG,
    ASYNCIO_TASKS,
    ENVIRONMENTS_BYTES,
    WORKER_WALL,
    SNAPSHOT_AGE,
)

PROCESS_METRICS: Final = (
    _process_metric("virtual_memory_bytes", "Virtual memory size in bytes."),
    _process_metric("resident_memory_bytes", "Resident memory size in bytes."),
    _process_metric("start_time_seconds", "Start time of the process since unix epoch in seconds."),
    _process_metric("cpu_seconds", "Total user and system CPU time spent in seconds.", "counter"),
    _process_metric("open_fds", "Number of open file descriptors."),
    _process_metric("max_fds", "Maximum number of open file descriptors."),
)
"""The metrics of the gateway process that prometheus_client's ProcessCollector reads, on Linux only."""


def all_metrics(more_counters: Sequence[CounterSpec] = ()) -> tuple[MetricSpec, ...]:
    """Return all metrics; `more_counters` are those of packages that this module must not import."""
    return (
        *COUNTERS,
        *map(to_metric_spec, more_counters),
        *HISTOGRAMS,
        *GAUGES,
        *PROCESS_METRICS,
    )
