"""Every metric there is: its name, its type, its labels and what it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from gateway.artifacts.cache import DAMAGED, FETCHED_BYTES, FETCHES
from gateway.artifacts.storage import EVICTIONS
from gateway.catalog.availability import LOOKUPS
from gateway.catalog.catalog import STALE_RESOLUTIONS
from gateway.errors import UNEXPECTED_ERRORS
from gateway.serving.rollover import SUCCESSIONS
from gateway.telemetry.metrics.requests import INVOCATIONS, REQUESTS
from workers.metrics import COUNTER_SPECS, CounterSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["counter", "gauge", "histogram"]

_VERSION: Final = ("model", "version")


@dataclass(frozen=True, slots=True)
class Family:
    """A metric by its name in the page, for a counter without `_total`.

    What is `per_process` stands in the page once for each gateway process, which is its first label;
    of everything else the processes' sum does.
    """

    name: str
    meaning: str
    kind: Kind
    labels: tuple[str, ...] = ()
    per_process: bool = False

    @property
    def shown(self) -> str:
        """The name as it stands in the page."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    @property
    def shown_labels(self) -> tuple[str, ...]:
        """The labels as they stand in the page."""
        return ("process", *self.labels) if self.per_process else self.labels


STARTS: Final = CounterSpec("process_starts", "Gateway processes started, those in place of dead ones among them.")


def of(event: CounterSpec) -> Family:
    """How an event stands in the page."""
    return Family(f"gateway_{event.name}", event.documentation, "counter", event.labels)


def _gauge(name: str, meaning: str, labels: tuple[str, ...] = ()) -> Family:
    return Family(f"gateway_{name}", meaning, "gauge", labels, per_process=True)


def _of_process(name: str, meaning: str, kind: Kind = "gauge") -> Family:
    return Family(f"process_{name}", meaning, kind, per_process=True)


COUNTERS: Final = tuple(
    map(
        of,
        (
            REQUESTS,
            INVOCATIONS,
            UNEXPECTED_ERRORS,
            STALE_RESOLUTIONS,
            SUCCESSIONS,
            LOOKUPS,
            FETCHES,
            FETCHED_BYTES,
            DAMAGED,
            EVICTIONS,
            *COUNTER_SPECS,
            STARTS,
        ),
    )
)
SECONDS: Final = Family(
    "gateway_invocation_seconds",
    "Seconds until a request for a prediction was answered, a stream to its end, by the kind of its status.",
    "histogram",
    ("status",),
)

READY: Final = _gauge("ready", "1 where requests are welcome, as /health/ready decides.")
DRAINING: Final = _gauge("draining", "1 while the gateway is shutting down.")
AWAY: Final = _gauge("mlflow_away", "1 where the last call to MLflow failed.")
PROBLEMS: Final = _gauge("pinned_problems", "Pinned models that could not be had at the last try.")
IN_FLIGHT: Final = _gauge("requests_in_flight", "Requests being answered, the one for this page among them.")
LOADED: Final = _gauge("models_loaded", "Model versions that are loaded.")
LOADING: Final = _gauge("models_loading", "Model versions that are being loaded.")
WORKERS: Final = _gauge("workers_warm", "Warm worker processes of a loaded version.", _VERSION)
WAITING: Final = _gauge("requests_waiting", "Requests that wait for a worker of a loaded version.", _VERSION)
RUNNING: Final = _gauge("requests_running", "Requests that workers of a loaded version have.", _VERSION)
MEMORY: Final = _gauge(
    "model_memory_bytes", "Memory that the workers of a loaded version have for themselves (PSS).", _VERSION
)
OWN_MEMORY: Final = _gauge(
    "own_memory_bytes", "Memory of the gateway's process, the template, and what workers share with it (PSS)."
)
BUDGET: Final = _gauge(
    "memory_budget_bytes", "What all of that may take together; none where there is no limit."
)
LAG: Final = _gauge(
    "event_loop_lag_seconds", "The longest delay of the event loop in the last 30 to 60 seconds."
)
TASKS: Final = _gauge(
    "tasks", "Tasks of the event loop: one for each connection and request, some for each warm model."
)
AGE: Final = _gauge(
    "snapshot_age_seconds",
    "How old a process' figures here are; one that is dead or stuck has no other gauges after 10 seconds.",
)
GAUGES: Final = (
    READY,
    DRAINING,
    AWAY,
    PROBLEMS,
    IN_FLIGHT,
    LOADED,
    LOADING,
    WORKERS,
    WAITING,
    RUNNING,
    MEMORY,
    OWN_MEMORY,
    BUDGET,
    LAG,
    TASKS,
    AGE,
)

PROCESS: Final = (
    _of_process("virtual_memory_bytes", "Virtual memory size in bytes."),
    _of_process("resident_memory_bytes", "Resident memory size in bytes."),
    _of_process("start_time_seconds", "Start time of the process since unix epoch in seconds."),
    _of_process("cpu_seconds", "Total user and system CPU time spent in seconds.", "counter"),
    _of_process("open_fds", "Number of open file descriptors."),
    _of_process("max_fds", "Maximum number of open file descriptors."),
)
"""What prometheus_client's ProcessCollector reads of the gateway's own process: Linux only."""


def families(more: Sequence[CounterSpec] = ()) -> tuple[Family, ...]:
    """All of them, and those of `more` events, which are counted where these here are not to be known."""
    return (*COUNTERS, *map(of, more), SECONDS, *GAUGES, *PROCESS)
