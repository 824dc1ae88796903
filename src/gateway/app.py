"""The composition root: opens every room in order, serves, and closes them in reverse."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway import environment, logs, machine
from gateway.api import keys, middleware, openapi, routes
from gateway.api.drain import Drain
from gateway.api.request_ids import RequestIds
from gateway.artifacts.cache import ArtifactCache
from gateway.catalog import Catalog
from gateway.details import Details
from gateway.errors import CacheFull, CacheUnusable, GatewayError
from gateway.mlflow_client import MlflowClient
from gateway.once import Once
from gateway.pins import Pins
from gateway.serving import Serving
from workers.pool import Limits, ModelKey, Pool, Tally

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from gateway.settings import Settings

_log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 15.0
_PAUSE_SECONDS_AWAY: Final = 4.0
_LAST_WORDS_SECONDS: Final = 1.0
_WRONG: Final = 2
_BUDGET_SHARE: Final = 0.8  # the rest is for whatever else runs here, and for what grows between two looks


def create_app(settings: Settings) -> web.Application:
    """The application; its rooms open when it starts and close when it is cleaned up."""
    drain = Drain()
    around = middleware.around(RequestIds(), drain, model_error_text=settings.model_error_text)
    app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[around])
    app[keys.SETTINGS] = settings
    app[keys.DRAIN] = drain
    app[keys.TALLY] = Tally()
    app[keys.OPENAPI] = openapi.document()
    routes.add_to(app.router)
    app.cleanup_ctx.append(_rooms)
    return app


def server_options() -> dict[str, Any]:
    """How aiohttp's server must be set up for the application."""
    server_log = logging.getLogger("aiohttp.server")
    server_log.addFilter(_is_our_fault)
    return {
        "access_log": None,
        "auto_decompress": False,  # gateway.api.compression does it, off the loop
        "handler_cancellation": True,  # a client that goes away takes its queued job with it
        "logger": server_log,
    }


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Whether aiohttp's record tells of anything but a request that is not valid HTTP."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def run(
    settings: Settings,
    *,
    announce: Callable[[str], None] | None = None,
    listeners: Sequence[socket.socket] = (),
    process: int | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; the process's exit status.

    `announce` is told the address once it is listened on: that of `listeners` where there are any, else
    the settings'. `process` is this one's number among several. The first signal lets the requests in
    flight be answered within `drain_seconds` (status 0), a second one ends them at once (status 1).
    Nothing is begun where the cache's folder cannot be used (status 2).
    """
    logs.configure(settings.log_level, settings.log_format, process=process)
    environment.hide_from_workers()
    fast = importlib.import_module("uvloop").new_event_loop if find_spec("uvloop") else None
    with asyncio.Runner(loop_factory=fast) as runner:
        return runner.run(_serve(settings, announce=announce, listeners=listeners))


async def _serve(
    settings: Settings, *, announce: Callable[[str], None] | None, listeners: Sequence[socket.socket]
) -> int:
    app = create_app(settings)
    first, second = _on_signals()
    runner = web.AppRunner(app, **server_options(), shutdown_timeout=_LAST_WORDS_SECONDS)
    try:
        try:
            await runner.setup()
        except (CacheFull, CacheUnusable) as error:
            _log.error("cannot start: %s It is %s.", error, settings.cache_dir)
            return _WRONG
        try:
            for site in _sites(runner, settings, listeners):
                await site.start()
        except OSError as error:
            _log.error("cannot listen on %s port %d: %s", settings.host, settings.port, error.strerror)
            return 1
        address = _address(runner)
        _log.info("listening on %s", address)
        _rarely_collect()
        if announce is not None:
            announce(address)
        await first.wait()
        return await _drain(runner, app[keys.DRAIN], settings.drain_seconds, second=second)
    finally:
        await runner.cleanup()


def _rarely_collect() -> None:
    """Keep the garbage collector from what stays for good, and from looking at requests ever so often.

    It took a twentieth of the time under load, and found nothing: requests leave no cycles.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _sites(
    runner: web.AppRunner, settings: Settings, listeners: Sequence[socket.socket]
) -> list[web.BaseSite]:
    if listeners:
        return [web.SockSite(runner, listener) for listener in listeners]
    return [web.TCPSite(runner, settings.host, settings.port)]


def _on_signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Events set by the first and by the second SIGTERM or SIGINT."""
    first, second = asyncio.Event(), asyncio.Event()

    def note() -> None:
        (second if first.is_set() else first).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, note)
    return first, second


async def _drain(runner: web.AppRunner, drain: Drain, seconds: float, *, second: asyncio.Event) -> int:
    """Take no more connections, and wait for the requests in flight; the exit status."""
    _log.info("shutting down")
    drain.start()
    for site in list(runner.sites):
        await site.stop()
    await asyncio.sleep(0)  # what has just been accepted begins
    if runner.server is not None:
        runner.server.pre_shutdown()
    waiting = [asyncio.create_task(drain.wait()), asyncio.create_task(second.wait())]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    if drain.in_flight:
        _log.warning("%d requests in flight are given up", drain.in_flight)
    return 1 if second.is_set() else 0


def _address(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _rooms(app: web.Application) -> AsyncIterator[None]:
    settings = app[keys.SETTINGS]
    async with AsyncExitStack() as stack:
        mlflow = app[keys.MLFLOW] = await stack.enter_async_context(MlflowClient(settings.mlflow))
        catalog = app[keys.CATALOG] = Catalog(mlflow, settings, tally=app[keys.TALLY])
        stack.push_async_callback(catalog.close)
        artifacts = app[keys.ARTIFACTS] = ArtifactCache(settings, mlflow)
        stack.push_async_callback(artifacts.close)
        await artifacts.open()
        seen_by_workers = environment.for_workers(settings.environment, threads=_threads(settings))
        pool = app[keys.POOL] = Pool(_limits(settings), environment=seen_by_workers, tally=app[keys.TALLY])
        stack.push_async_callback(pool.close, drain_seconds=0)
        await pool.open()
        once: Once[ModelKey] = Once()
        stack.push_async_callback(once.close)
        serving = app[keys.SERVING] = Serving(
            catalog,
            artifacts,
            pool=pool,
            once=once,
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
            every=max(1.0, settings.catalog_ttl_seconds),
        )
        await stack.enter_async_context(_owned(_keep_in_touch(catalog), name="reach MLflow"))
        await stack.enter_async_context(_owned(pins.run(), name="pinned models"))
        yield


@asynccontextmanager
async def _owned(work: Coroutine[None, None, None], *, name: str) -> AsyncIterator[None]:
    """`work` runs meanwhile; it is cancelled and awaited at the end, and what it raises is logged."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s: unexpected error", task.get_name(), exc_info=error)


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
                _log.warning("MLflow is not reached yet, next try in %g s: %s", pause, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_SECONDS_AWAY if catalog.reached else _LONGEST_PAUSE_SECONDS)


def _threads(settings: Settings) -> int:
    return machine.threads(
        cores=machine.cores(), processes=settings.processes, workers=settings.workers_per_model
    )


def _memory(settings: Settings) -> int:
    """What this process and its models may take, in bytes."""
    budget = settings.memory_budget_bytes or int(machine.memory() * _BUDGET_SHARE)
    return budget // settings.processes


def _limits(settings: Settings) -> Limits:
    return Limits(
        workers_per_model=settings.workers_per_model,
        max_loaded_models=settings.share_of_loaded_models,
        memory_bytes=_memory(settings),
        idle_seconds=settings.idle_seconds,
        max_queue=settings.max_queue,
        request_seconds=settings.request_timeout_seconds,
        stream_seconds=settings.stream_timeout_seconds,
        load_seconds=settings.load_timeout_seconds,
    )
