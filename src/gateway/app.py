"""The composition root: opens every room in order, and closes them in reverse."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.api import keys, openapi, routes
from gateway.api.body.memory_limit import BodyMemoryLimit
from gateway.api.connections import ConnectionMonitor
from gateway.api.handlers import health
from gateway.api.inflight import InFlightRequests
from gateway.api.middleware import pipeline
from gateway.api.middleware.request_id import RequestIdGenerator
from gateway.api.middleware.request_metrics import RequestMetrics
from gateway.artifacts.cache import ArtifactCache
from gateway.catalog import Catalog
from gateway.concurrency.background import supervised_task
from gateway.concurrency.singleflight import SingleFlight
from gateway.errors import INTERNAL_ERRORS, GatewayError
from gateway.mlflow_client import MlflowClient
from gateway.serving.admission import DownloadLimiter
from gateway.serving.details import VersionDetailsService
from gateway.serving.pinned import PinnedModels
from gateway.serving.service import PredictionService
from gateway.serving.worker_health import WorkerHealth
from gateway.settings import CurrentSettings
from gateway.system import descriptors, environment, resources
from gateway.telemetry.log_throttle import LogThrottle
from gateway.telemetry.metrics.collector import MetricsCollector, SnapshotSlot
from gateway.telemetry.metrics.event_loop_lag import EventLoopLag
from gateway.telemetry.metrics.gauges import GaugeSources
from gateway.telemetry.metrics.requests import RequestCounters
from workers.limits import PoolLimits
from workers.metrics import Counters
from workers.pool.pool import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.settings import Settings
    from workers.protocol.messages import ModelKey

logger = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS: Final = 0.5
_MAX_RETRY_SECONDS: Final = 15.0
_MAX_RECONNECT_SECONDS: Final = 4.0
_MIN_CONCURRENT_LOADS: Final = 2  # at once: one that waits for something leaves the core to the other
_DEFAULT_MEMORY_SHARE: Final = (
    0.8  # the rest is for whatever else runs here, and for what grows between two looks
)


def create_app(settings: Settings, *, slot: SnapshotSlot | None = None) -> web.Application:
    """The application; its rooms open when it starts and close when it is cleaned up.

    `seat` is its process' place among several.
    """
    drain, tally, traffic, current = (
        InFlightRequests(),
        Counters(),
        RequestCounters(),
        CurrentSettings(settings),
    )
    intake = BodyMemoryLimit(settings.body_memory_bytes, counters=tally)
    connections = ConnectionMonitor(
        drain,
        max_connections=lambda: descriptors.max_connections(workers=_max_workers(current.value)),
        stalled_seconds=settings.idle_connection_seconds,
        max_unsent_bytes=settings.body_memory_bytes,
        counters=tally,
    )
    around = pipeline.request_pipeline(
        RequestIdGenerator(),
        drain,
        connections=connections,
        body_memory=intake,
        request_metrics=RequestMetrics(traffic, routes.PREDICTION_HANDLERS),
        settings=current,
    )
    app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[around])
    app[keys.SETTINGS] = current
    app[keys.TALLY] = tally
    tally.increment(INTERNAL_ERRORS, "request", times=0)  # so that the first one is seen as an increase
    app[keys.COMPLAINTS] = LogThrottle()
    app[keys.DRAIN] = drain
    app[keys.TRAFFIC] = traffic
    app[keys.SEAT] = slot or SnapshotSlot()
    app[keys.CONNECTIONS] = connections
    app[keys.INTAKE] = intake
    app[keys.OPENAPI] = openapi.build_document()
    routes.add_routes(app.router)
    app.cleanup_ctx.append(_rooms)
    return app


def server_options(settings: Settings) -> dict[str, Any]:
    """How aiohttp's server must be set up for the application."""
    server_log = logging.getLogger("aiohttp.server")
    server_log.addFilter(_is_not_malformed_request)
    return {
        "access_log": None,
        "auto_decompress": False,  # gateway.api.compression does it, off the loop
        "handler_cancellation": True,  # a client that goes away takes its queued job with it
        "keepalive_timeout": settings.idle_connection_seconds,
        "logger": server_log,
    }


def _is_not_malformed_request(record: logging.LogRecord) -> bool:
    """Whether aiohttp's record tells of anything but a request that is not valid HTTP."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


async def _rooms(app: web.Application) -> AsyncIterator[None]:
    current, tally = app[keys.SETTINGS], app[keys.TALLY]
    settings = current.value
    async with AsyncExitStack() as stack:
        mlflow = app[keys.MLFLOW] = await stack.enter_async_context(MlflowClient(settings.mlflow))
        catalog = app[keys.CATALOG] = Catalog(mlflow, settings, counters=tally)
        stack.push_async_callback(catalog.close)
        artifacts = app[keys.ARTIFACTS] = ArtifactCache(settings, mlflow, counters=tally)
        stack.push_async_callback(artifacts.close)
        await artifacts.open()
        seen_by_workers = environment.worker_environment(
            settings.environment, threads=_threads_per_worker(settings)
        )
        pool = app[keys.POOL] = Pool(
            lambda: _pool_limits(current.value), environment=seen_by_workers, counters=tally
        )
        stack.push_async_callback(pool.close, drain_seconds=0)
        await pool.open()
        once: SingleFlight[ModelKey] = SingleFlight()
        stack.push_async_callback(once.close)
        arrivals = app[keys.ARRIVALS] = DownloadLimiter(current)
        serving = app[keys.SERVING] = PredictionService(
            catalog,
            artifacts,
            pool=pool,
            single_flight=once,
            download_limiter=arrivals,
            settings=current,
        )
        stack.push_async_callback(serving.close)
        app[keys.DETAILS] = VersionDetailsService(catalog, artifacts, pool=pool)
        pins = app[keys.PINS] = PinnedModels(
            settings.pinned_models,
            catalog,
            serving=serving,
            pool=pool,
            refresh_seconds=_pinned_refresh_seconds(settings),
        )
        vitals = app[keys.VITALS] = WorkerHealth(pool)
        lag = EventLoopLag()
        metrics = app[keys.METRICS] = _create_metrics(app, lag)
        for name, work in (
            ("reach MLflow", partial(_reconnect_forever, catalog)),
            ("pinned models", pins.run),
            ("vitals", vitals.run),
            ("event loop lag", lag.run),
            ("metrics", metrics.run),
        ):
            await stack.enter_async_context(supervised_task(work, name=name, counters=tally))
        yield


def _create_metrics(app: web.Application, lag: EventLoopLag) -> MetricsCollector:
    rooms = GaugeSources(
        app[keys.CATALOG],
        app[keys.PINS],
        app[keys.POOL],
        in_flight=app[keys.DRAIN],
        lag=lag,
        ready=partial(health.is_ready, app),
    )
    return MetricsCollector(
        app[keys.TALLY], app[keys.TRAFFIC], collect_gauges=rooms.collect, slot=app[keys.SEAT]
    )


def apply_settings(app: web.Application, settings: Settings) -> None:
    """Have the rooms of a running application go by other settings, as far as `gateway.reload` lets them."""
    app[keys.POOL].notify_limits_changed()
    app[keys.CATALOG].change(settings)
    app[keys.PINS].change(settings.pinned_models, every=_pinned_refresh_seconds(settings))


def _pinned_refresh_seconds(settings: Settings) -> float:
    return max(1.0, settings.catalog_ttl_seconds)


async def _reconnect_forever(catalog: Catalog) -> None:
    """Have real calls to MLflow succeed, at the start and after it was away, whether anybody asks or not."""
    while True:
        await catalog.wait_unavailable()
        await _probe_until_reached(catalog)


async def _probe_until_reached(catalog: Catalog) -> None:
    """Make one real call to MLflow succeed, however long it takes."""
    pause = _FIRST_RETRY_SECONDS
    while not catalog.ever_reached or catalog.unavailable_reason is not None:
        try:
            await catalog.probe()
        except GatewayError as error:
            # A server that was there before has had its one line, and is wanted back soon.
            if not catalog.ever_reached:
                logger.warning("MLflow is not reached yet, next try in %g s: %s", pause, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_RECONNECT_SECONDS if catalog.ever_reached else _MAX_RETRY_SECONDS)


def _max_workers(settings: Settings) -> int:
    return settings.loaded_models_per_process * settings.workers_per_model


def _threads_per_worker(settings: Settings) -> int:
    return resources.threads_per_worker(
        cores=resources.available_cores(), processes=settings.processes, workers=settings.workers_per_model
    )


def _memory_budget_bytes(settings: Settings) -> int:
    """What this process and its models may take, in bytes."""
    budget = settings.memory_budget_bytes or int(resources.available_memory() * _DEFAULT_MEMORY_SHARE)
    return budget // settings.processes


def _pool_limits(settings: Settings) -> PoolLimits:
    return PoolLimits(
        workers_per_model=settings.workers_per_model,
        max_loaded_models=settings.loaded_models_per_process,
        max_concurrent_loads=max(_MIN_CONCURRENT_LOADS, resources.available_cores() // settings.processes),
        memory_bytes=_memory_budget_bytes(settings),
        idle_seconds=settings.idle_seconds,
        max_queue=settings.max_queue,
        request_seconds=settings.request_timeout_seconds,
        stream_seconds=settings.stream_timeout_seconds,
        load_seconds=settings.load_timeout_seconds,
    )
