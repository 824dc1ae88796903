"""The composition root: builds the components, opens them in order, and closes them in reverse."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.api import openapi, routes
from gateway.api.body.memory_limit import BodyMemoryLimit
from gateway.api.connections import ConnectionMonitor
from gateway.api.inflight import InFlightRequests
from gateway.api.keys import COMPONENTS, Components
from gateway.api.middleware.browser import BrowserRules
from gateway.api.middleware.error_reporting import ErrorReporter
from gateway.api.middleware.pipeline import RequestPipeline
from gateway.api.middleware.request_metrics import RequestMetrics
from gateway.api.schema.documents import VersionDocuments
from gateway.artifacts.cache import ArtifactCache
from gateway.auth.limits.limiter import RequestLimiter
from gateway.caller_checks import CallerChecks
from gateway.catalog import Catalog
from gateway.concurrency.background import supervised_task
from gateway.concurrency.singleflight import SingleFlight
from gateway.console.console import CONSOLE, create_console
from gateway.console.routes import console_routes
from gateway.engines.factory import create_engine
from gateway.errors import INTERNAL_ERRORS
from gateway.mlflow_client import MlflowClient
from gateway.model_files.version_files import VersionFiles
from gateway.serving.details import VersionDetailsService
from gateway.serving.pinned import PinnedModels
from gateway.serving.service import PredictionService
from gateway.serving.worker_health import WorkerHealth
from gateway.settings import CurrentSettings, wall_policy
from gateway.settings.capacity import max_workers
from gateway.system import descriptors
from gateway.system.log_throttle import LogThrottle
from gateway.system.wall import wall_status
from gateway.telemetry.events import EventLog
from gateway.telemetry.history import History
from gateway.telemetry.metrics.collector import MetricsCollector, SnapshotSlot
from gateway.telemetry.metrics.event_loop_lag import EventLoopLag
from gateway.telemetry.metrics.gauges import EngineGauges, GaugeSources
from gateway.telemetry.metrics.requests import RequestCounters
from workers.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.auth.limits.rates import Rates
    from gateway.engines.transports.unix_address import UnixAddress
    from gateway.settings import Settings


CALLER_CHECKS: Final = web.AppKey("caller_checks", CallerChecks)


def create_app(
    settings: Settings,
    *,
    slot: SnapshotSlot | None = None,
    rates: Rates | None = None,
    node: UnixAddress | None = None,
) -> web.Application:
    """Return the application. Its components open when it starts and close when it is cleaned up.

    `slot` is the place of this process among several. The gateway processes count in `rates`, and share the
    models of the process at `node`.
    """
    components = _create_components(CurrentSettings(settings), slot or SnapshotSlot(), rates=rates, node=node)
    browser = BrowserRules(settings.browser)
    caller_checks = CallerChecks(
        settings,
        components.request_limiter,
        mlflow=components.mlflow,
        counters=components.counters,
        log_throttle=components.log_throttle,
    )
    pipeline = RequestPipeline(
        browser=browser,
        access_control=caller_checks.access_control,
        auditor=caller_checks.auditor,
        in_flight=components.in_flight,
        connections=components.connections,
        body_memory=components.body_memory,
        error_reporter=components.error_reporter,
        request_metrics=RequestMetrics(components.request_counters, routes.PREDICTION_HANDLERS),
    )
    app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[web.middleware(pipeline)])
    app[COMPONENTS], app[CALLER_CHECKS] = components, caller_checks
    needed = routes.add_routes(app.router, console_routes(settings))
    if settings.console != "off":
        create_console(app)
    if caller_checks.access_control is not None:
        caller_checks.access_control.set_routes(needed)
    if browser.allows_origins:
        app.on_response_prepare.append(browser.add_origin)
    app.cleanup_ctx.append(_run_components)
    return app


def _create_components(
    current: CurrentSettings, slot: SnapshotSlot, *, rates: Rates | None, node: UnixAddress | None
) -> Components:
    settings, counters, in_flight = current.value, Counters(), InFlightRequests()
    counters.increment(INTERNAL_ERRORS, "request", times=0)  # so that the first error shows as an increase
    mlflow = MlflowClient(settings.mlflow)
    catalog = Catalog(mlflow, current, counters=counters)
    wall = wall_status(wall_policy(settings))
    artifacts = ArtifactCache(settings, mlflow, counters=counters, workers_cannot_write=wall.complete)
    body_memory = BodyMemoryLimit(settings.body_memory_bytes, counters=counters)
    files = VersionFiles(catalog, artifacts)
    engine = create_engine(
        current, catalog, artifacts, files=files, answer_memory=body_memory, counters=counters, node=node
    )
    has_workers = slot.holds_models and settings.fleet.engine == "local"
    loads: SingleFlight[Any] = SingleFlight()
    predictions = PredictionService(catalog, engine, single_flight=loads, settings=current, counters=counters)
    pinned = PinnedModels(catalog, settings=current, predictions=predictions, engine=engine)
    main_document = openapi.build_document()
    log_throttle, event_loop_lag, request_counters = LogThrottle(), EventLoopLag(), RequestCounters()
    gauges = GaugeSources(
        catalog,
        pinned,
        EngineGauges(engine) if slot.holds_models else None,
        in_flight=in_flight,
        lag=event_loop_lag,
        wall=wall,
        ready=lambda: components.ready,
    )
    metrics = MetricsCollector(counters, request_counters, collect_gauges=gauges.collect, slot=slot)
    components = Components(
        settings=current,
        counters=counters,
        log_throttle=log_throttle,
        in_flight=in_flight,
        connections=_create_connection_monitor(
            current, in_flight, body_memory=body_memory, counters=counters, has_workers=has_workers
        ),
        body_memory=body_memory,
        request_limiter=RequestLimiter(current, counters=counters, rates=rates),
        mlflow=mlflow,
        catalog=catalog,
        artifacts=artifacts,
        files=files,
        engine=engine,
        loads=loads,
        predictions=predictions,
        details=VersionDetailsService(catalog, files, engine=engine, settings=current),
        pinned=pinned,
        worker_health=WorkerHealth(engine),
        wall=wall,
        request_counters=request_counters,
        snapshot_slot=slot,
        event_loop_lag=event_loop_lag,
        error_reporter=ErrorReporter(current, counters=counters, log_throttle=log_throttle),
        metrics=metrics,
        history=History(metrics.snapshots, slot=slot),
        events=EventLog(slot),
        openapi=main_document,
        documents=VersionDocuments(main_document),
    )
    return components


def _create_connection_monitor(
    current: CurrentSettings,
    in_flight: InFlightRequests,
    *,
    body_memory: BodyMemoryLimit,
    counters: Counters,
    has_workers: bool,
) -> ConnectionMonitor:
    settings = current.value
    return ConnectionMonitor(
        in_flight,
        max_connections=lambda: descriptors.max_connections(
            workers=max_workers(current.value) if has_workers else 0
        ),
        stalled_seconds=settings.idle_connection_seconds,
        max_unsent_bytes=settings.body_memory_bytes,
        counters=counters,
        blocking=body_memory.blocking,
    )


async def _run_components(app: web.Application) -> AsyncIterator[None]:
    components = app[COMPONENTS]
    async with AsyncExitStack() as stack:
        stack.enter_context(components.events.listening())
        await stack.enter_async_context(components.mlflow)
        await stack.enter_async_context(app[CALLER_CHECKS].running())
        stack.push_async_callback(components.catalog.close)
        stack.push_async_callback(components.artifacts.close)
        await components.artifacts.open()
        stack.push_async_callback(components.files.close)
        stack.push_async_callback(components.details.close)
        stack.push_async_callback(components.documents.close)
        stack.push_async_callback(components.engine.close, drain_seconds=0)
        await components.engine.open()
        stack.push_async_callback(components.loads.close)
        stack.push_async_callback(components.predictions.close)
        for name, work in (
            ("reach MLflow", components.catalog.reconnect_forever),
            ("pinned models", components.pinned.run),
            ("vitals", components.worker_health.run),
            ("event loop lag", components.event_loop_lag.run),
            ("metrics", components.metrics.run),
            ("history", components.history.run),
            ("engine", components.engine.run),
            ("events", components.events.run),
        ):
            await stack.enter_async_context(supervised_task(work, name=name, counters=components.counters))
        if (console := app.get(CONSOLE)) is not None:
            await stack.enter_async_context(console.running())
        yield
