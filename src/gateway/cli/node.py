"""The command `gateway node`: loads models on this machine, and predicts for the gateways of a fleet."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING, Final

from gateway.server import confinement
from gateway.settings import SettingsError, wall_policy
from gateway.settings.fleet_checks import node_problems, read_fleet_token
from gateway.system import privileges
from gateway.system.wall import wall_status
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.engines.transports.link_server import Accept
    from gateway.server.node_process import LinkServer
    from gateway.server.tls import ServerTls, TlsReloader
    from gateway.settings import Settings
    from workers.metrics import Counters

logger = logging.getLogger(__name__)

_EXIT_MISCONFIGURED: Final = 2


def run_node(
    settings: Settings,
    *,
    read_settings: Callable[[], Settings] | None = None,
    announce: Callable[[str], None] | None = None,
) -> int:
    """Serve gateways until a signal to stop, and return the exit status. Raise SettingsError.

    `announce` is called with the address once the node listens.
    """
    if problems := list(node_problems(settings)):
        raise SettingsError(problems)
    settings = _of_one_process(settings)
    link_server = _link_server(settings)
    if read_settings is not None:  # until a handler is installed, SIGHUP would end the process
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    logs.configure(settings.log_level, settings.log_format)
    if exposure := privileges.exposure():
        logger.warning("%s: %s", exposure, privileges.ADVICE, extra={"event": "privileged_user"})
    if not confinement.is_sufficient(wall_status(wall_policy(settings))):
        return _EXIT_MISCONFIGURED
    from gateway.server.node_process import NodeContext, run  # noqa: PLC0415 - `serve` starts sooner without

    context = NodeContext(
        link_server=link_server,
        read_settings=None if read_settings is None else lambda: _of_one_process(read_settings()),
        announce=announce,
    )
    return run(settings, context)


def _of_one_process(settings: Settings) -> Settings:
    """Return the settings without GATEWAY_PROCESSES, which divides the limits among gateway processes."""
    return settings.model_copy(update={"processes": 1})


def _link_server(settings: Settings) -> Callable[[Accept, Counters], LinkServer]:
    """Return what creates the server of links. Raise SettingsError if its certificates cannot be used."""
    from gateway.engines.transports.tcp_server import TcpOptions  # noqa: PLC0415 - `serve` starts sooner without
    from gateway.server.node_links import NodeLinks  # noqa: PLC0415 - as above

    context, create_reloader = None, None
    if settings.fleet.tls_cert_file is not None:
        context, create_reloader = _tls(settings)
    options = TcpOptions(
        host=settings.node.host,
        port=settings.node.port,
        token=read_fleet_token(settings.fleet),
        context=context,
        max_body_bytes=settings.max_body_bytes,
    )
    return lambda accept, counters: NodeLinks(
        accept, options, counters=counters, create_reloader=create_reloader
    )


def _tls(settings: Settings) -> tuple[ServerTls, Callable[[Callable[[], None]], TlsReloader]]:
    """Return the context of links, and what creates its reloader. Raise SettingsError."""
    from gateway.server.node_tls import load_node_tls, new_node_tls, node_tls_settings  # noqa: PLC0415 - most nodes have no TLS
    from gateway.server.tls import TlsReloader  # noqa: PLC0415 - as above
    from gateway.server.tls_errors import TlsError  # noqa: PLC0415 - as above

    chosen = node_tls_settings(settings.fleet)
    try:
        tls = new_node_tls(load_node_tls(chosen))
    except TlsError as error:
        raise SettingsError([str(error)]) from error
    return tls, lambda on_removed: TlsReloader(
        chosen, tls, on_authorities_removed=on_removed, load=load_node_tls
    )
