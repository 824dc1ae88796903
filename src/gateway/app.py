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
from gateway.api.body.memory_limit import Intake
from gateway.api.connections import Connections
from gateway.api.handlers import health
from gateway.api.inflight import Drain
from gateway.api.middleware import pipeline
from gateway.api.middleware.request_id import RequestIds
from gateway.api.middleware.request_metrics import Counting
from gateway.artifacts.cache import ArtifactCache
from gateway.catalog import Catalog
from gateway.concurrency.background import kept
from gateway.concurrency.singleflight import Once
from gateway.errors import UNEXPECTED_ERRORS, GatewayError
from gateway.mlflow_client import MlflowClient
from gateway.serving.admission import Arrivals
from gateway.serving.details import Details
from gateway.serving.pinned import Pins
from gateway.serving.service import Serving
from gateway.serving.worker_health import Vitals
from gateway.settings import Current
from gateway.system import descriptors, environment, resources
from gateway.telemetry.log_throttle import Complaints
from gateway.telemetry.metrics.collector import Metrics, Seat
from gateway.telemetry.metrics.event_loop_lag import Lag
from gateway.telemetry.metrics.gauges import Rooms
from gateway.telemetry.metrics.requests import Traffic
from workers.limits import PoolLimits
from workers.metrics import Counters
from workers.pool.pool import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.settings import Settings
    from workers.protocol.messages import ModelKey

logger = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 15.0
_PAUSE_SECONDS_AWAY: Final = 4.0
_LEAST_LOADS: Final = 2  # at once: one that waits for something leaves the core to the other
_BUDGET_SHARE: Final = 0.8  # the rest is for whatever else runs here, and for what grows between two looks


def create_app(settings: Settings, *, seat: Seat | None = None) -> web.Application:
    """The application; its rooms open when it starts and close when it is cleaned up.

    `seat` is its process' place among several.
    """
    drain, tally, traffic, current = Drain(), Counters(), Traffic(), Current(settings)
    intake = Intake(settings.bodies_bytes, tally=tally)
    connections = Connections(
        drain,
        most=lambda: descriptors.for_connections(workers=_workers(current.now)),
        stalled_seconds=settings.idle_connection_seconds,
        unsent_bytes=settings.bodies_bytes,
        tally=tally,
    )
    around = pipeline.around(
        RequestIds(),
        drain,
        connections=connections,
        intake=intake,
        counting=Counting(traffic, routes.PREDICTING),
        settings=current,
    )
    app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[around])
    app[keys.SETTINGS] = current
    app[keys.TALLY] = tally
    tally.increment(UNEXPECTED_ERRORS, "request", times=0)  # so that the first one is seen as an increase
    app[keys.COMPLAINTS] = Complaints()
    app[keys.DRAIN] = drain
    app[keys.TRAFFIC] = traffic
    app[keys.SEAT] = seat or Seat()
    app[keys.CONNECTIONS] = connections
    app[keys.INTAKE] = intake
    app[keys.OPENAPI] = openapi.document()
    routes.add_to(app.router)
    app.cleanup_ctx.append(_rooms)
    return app


def server_options(settings: Settings) -> dict[str, Any]:
    """How aiohttp's server must be set up for the application."""
    server_log = logging.getLogger("aiohttp.server")
    server_log.addFilter(_is_our_fault)
    return {
        "access_log": None,
        "auto_decompress": False,  # gateway.api.compression does it, off the loop
        "handler_cancellation": True,  # a client that goes away takes its queued job with it
        "keepalive_timeout": settings.idle_connection_seconds,
        "logger": server_log,
    }


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Whether aiohttp's record tells of anything but a request that is not valid HTTP."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


async def _rooms(app: web.Application) -> AsyncIterator[None]:
    settings, tally = app[keys.SETTINGS].now, app[keys.TALLY]
    async with AsyncExitStack() as stack:
        mlflow = app[keys.MLFLOW] = await stack.enter_async_context(MlflowClient(settings.mlflow))
        catalog = app[keys.CATALOG] = Catalog(mlflow, settings, tally=tally)
        stack.push_async_callback(catalog.close)
        artifacts = app[keys.ARTIFACTS] = ArtifactCache(settings, mlflow, tally=tally)
        stack.push_async_callback(artifacts.close)
        await artifacts.open()
        seen_by_workers = environment.for_workers(settings.environment, threads=_threads(settings))
        pool = app[keys.POOL] = Pool(_limits(settings), environment=seen_by_workers, counters=tally)
        stack.push_async_callback(pool.close, drain_seconds=0)
        await pool.open()
        once: Once[ModelKey] = Once()
        stack.push_async_callback(once.close)
        arrivals = app[keys.ARRIVALS] = Arrivals(
            settings.share_of_loaded_models, seconds=settings.request_timeout_seconds
        )
        serving = app[keys.SERVING] = Serving(
            catalog,
            artifacts,
            pool=pool,
            once=once,
            arrivals=arrivals,
            max_queue=settings.max_queue,
            input_checks=settings.input_checks,
            batching=settings.batching,
        )
        stack.push_async_callback(serving.close)
        app[keys.DETAILS] = Details(catalog, artifacts, pool=pool)
        pins = app[keys.PINS] = Pins(
            settings.pinned_models,
            catalog,
            serving=serving,
            pool=pool,
            every=_pace_of_pins(settings),
        )
        vitals = app[keys.VITALS] = Vitals(pool)
        lag = Lag()
        metrics = app[keys.METRICS] = _metrics(app, lag)
        for name, work in (
            ("reach MLflow", partial(_keep_in_touch, catalog)),
            ("pinned models", pins.run),
            ("vitals", vitals.run),
            ("event loop lag", lag.run),
            ("metrics", metrics.run),
        ):
            await stack.enter_async_context(kept(work, name=name, tally=tally))
        yield


def _metrics(app: web.Application, lag: Lag) -> Metrics:
    rooms = Rooms(
        app[keys.CATALOG],
        app[keys.PINS],
        app[keys.POOL],
        drain=app[keys.DRAIN],
        lag=lag,
        ready=partial(health.is_ready, app),
    )
    return Metrics(app[keys.TALLY], app[keys.TRAFFIC], levels=rooms.levels, seat=app[keys.SEAT])


def change(app: web.Application, settings: Settings) -> None:
    """Have the rooms of a running application go by other settings, as far as `gateway.reload` lets them."""
    app[keys.POOL].set_limits(_limits(settings))
    app[keys.CATALOG].change(settings)
    app[keys.ARRIVALS].change(settings.share_of_loaded_models, seconds=settings.request_timeout_seconds)
    app[keys.SERVING].change(
        max_queue=settings.max_queue, input_checks=settings.input_checks, batching=settings.batching
    )
    app[keys.PINS].change(settings.pinned_models, every=_pace_of_pins(settings))


def _pace_of_pins(settings: Settings) -> float:
    return max(1.0, settings.catalog_ttl_seconds)


async def _keep_in_touch(catalog: Catalog) -> None:
    """Have real calls to MLflow succeed, at the start and after it was away, whether anybody asks or not."""
    while True:
        await catalog.doubtful()
        await _reach(catalog)


async def _reach(catalog: Catalog) -> None:
    """Make one real call to MLflow succeed, however long it takes."""
    pause = _FIRST_PAUSE_SECONDS
    while not catalog.reached or catalog.away is not None:
        try:
            await catalog.probe()
        except GatewayError as error:
            # A server that was there before has had its one line, and is wanted back soon.
            if not catalog.reached:
                logger.warning("MLflow is not reached yet, next try in %g s: %s", pause, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_SECONDS_AWAY if catalog.reached else _LONGEST_PAUSE_SECONDS)


def _workers(settings: Settings) -> int:
    return settings.share_of_loaded_models * settings.workers_per_model


def _threads(settings: Settings) -> int:
    return resources.threads(
        cores=resources.cores(), processes=settings.processes, workers=settings.workers_per_model
    )


def _memory(settings: Settings) -> int:
    """What this process and its models may take, in bytes."""
    budget = settings.memory_budget_bytes or int(resources.memory() * _BUDGET_SHARE)
    return budget // settings.processes


def _limits(settings: Settings) -> PoolLimits:
    return PoolLimits(
        workers_per_model=settings.workers_per_model,
        max_loaded_models=settings.share_of_loaded_models,
        max_concurrent_loads=max(_LEAST_LOADS, resources.cores() // settings.processes),
        memory_bytes=_memory(settings),
        idle_seconds=settings.idle_seconds,
        max_queue=settings.max_queue,
        request_seconds=settings.request_timeout_seconds,
        stream_seconds=settings.stream_timeout_seconds,
        load_seconds=settings.load_timeout_seconds,
    )
