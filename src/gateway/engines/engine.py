"""What the gateway asks of an engine, which decides where a model's files are fetched and where it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.domain.models import ModelVersion
    from gateway.engines.node_report import NodeReport
    from gateway.environments.state import EnvironmentState
    from workers.pool.status import DeviceReport, MemoryReport, ModelStatus
    from workers.prediction_stream import PredictionStream
    from workers.protocol.messages import Job, ModelKey, Reply
    from workers.spawn_health import SpawnHealth


@dataclass(frozen=True, slots=True)
class Order:
    """A version to load, for `owners`: the names of those that wait for it, None for one without a name.

    `owners` may grow while the load waits; call `Engine.notify_owners_changed` then.
    """

    version: ModelVersion
    owners: Collection[str | None] = ()


class Engine(Protocol):
    """Where models are loaded and predict. Used from one event loop."""

    async def open(self) -> None:
        """Make it ready to load models. Raise CacheUnusable."""

    async def close(self, *, drain_seconds: float) -> None:
        """Take no more requests, answer the ones that wait or run within `drain_seconds`, free everything."""

    async def run(self) -> None:
        """Do the periodic work until cancelled."""

    @property
    def spawn_health(self) -> SpawnHealth:
        """The record of whether worker processes can be started."""

    @property
    def has_warm_models(self) -> bool:
        """Whether any loaded model has a worker."""

    @property
    def running_environments(self) -> frozenset[str]:
        """The digests of the environments that have processes."""

    @property
    def environments_bytes(self) -> int:
        """The disk that environments take, when last measured."""

    @property
    def pinned(self) -> frozenset[ModelKey]:
        """The versions that are never evicted."""

    async def probe_spawn(self) -> None:
        """Start and end a process that does nothing, and record the outcome in `spawn_health`."""

    def notify_limits_changed(self) -> None:
        """Apply changed limits at once."""

    def notify_owners_changed(self) -> None:
        """Look again at loads that wait, because one more owner waits for one of them."""

    def is_loaded(self, key: ModelKey) -> bool:
        """Whether `predict` can be called for a version."""

    def status(self, key: ModelKey) -> ModelStatus:
        """Return how a version is served now."""

    def statuses(self) -> Mapping[ModelKey, ModelStatus]:
        """Return the status of every version that is loaded or loading."""

    def failures(self) -> Mapping[ModelKey, str]:
        """Return why each version failed to load that is not tried again yet."""

    def memory_report(self) -> MemoryReport:
        """Return the memory that was in use when it was last measured."""

    def device_reports(self) -> list[DeviceReport]:
        """Return what is known of each GPU that models may have a share of."""

    def nodes(self) -> Sequence[NodeReport]:
        """Return how each node is seen from here, by name; empty if models run on this machine alone."""

    def may_have_environment(self, version: ModelVersion) -> bool:
        """Return whether the version may get a Python environment of its own."""

    def environment(self, key: ModelKey) -> EnvironmentState | None:
        """Return what is known of the version's environment; None if it was never asked for."""

    def find_environment(self, name: str, version: str) -> EnvironmentState | None:
        """Return what is known of this version's environment, first of all that it is being built."""

    def pin(self, key: ModelKey) -> None:
        """Never evict a version once it is loaded."""

    def unpin(self, key: ModelKey) -> None:
        """Let a version be evicted again."""

    async def load(self, order: Order) -> float:
        """Fetch the files of a version and load it; return the seconds that the fetch took.

        Return at once if it is loaded. Only one caller at a time may load a version. Raise any GatewayError
        or WorkerError.
        """

    async def predict(self, key: ModelKey, job: Job) -> Reply:
        """Return the reply of a loaded version.

        Raise ModelNotLoaded, QueueFull, PredictionTimeout, InvalidInput, UnsupportedMediaType,
        NotAcceptable, ModelError, WorkerCrashed or PoolClosed.
        """

    async def stream(self, key: ModelKey, job: Job) -> PredictionStream:
        """Return the reply of a loaded version in chunks; the first one has been computed.

        The caller must close the stream. Raise StreamingNotSupported, and what `predict` raises.
        """

    async def unload(self, *keys: ModelKey) -> None:
        """Unload versions after they have answered the requests that wait or run.

        Versions that are not loaded are ignored. Raise ModelPinned if any is pinned, and unload none then.
        """
