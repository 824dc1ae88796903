"""The command `gateway node`: loads models on this machine, and predicts for the gateways of a fleet."""

from __future__ import annotations

import logging
import os
import signal
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from gateway.server import confinement
from gateway.settings import SettingsError, wall_policy
from gateway.settings.fleet_checks import node_problems, read_fleet_token
from gateway.system import privileges
from gateway.system.wall import wall_status
from gateway.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.engines.transports.grpc_server import Certificates, GrpcOptions
    from gateway.settings import Settings

logger = logging.getLogger(__name__)

_EXIT_MISCONFIGURED: Final = 2
_NEEDS_GRPC: Final = "GATEWAY_NODE_PORT: links between machines need grpcio: install the extra `fleet`"


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
    if find_spec("grpc") is None:
        raise SettingsError([_NEEDS_GRPC])
    options = _grpc_options(settings)
    if options.certificates is not None:
        _check_certificates(options.certificates)
    if read_settings is not None:  # until a handler is installed, SIGHUP would end the process
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    logs.configure(settings.log_level, settings.log_format)
    if exposure := privileges.exposure():
        logger.warning("%s: %s", exposure, privileges.ADVICE, extra={"event": "privileged_user"})
    if not confinement.is_sufficient(wall_status(wall_policy(settings))):
        return _EXIT_MISCONFIGURED
    from gateway.engines.transports.grpc_server import GrpcServer  # noqa: PLC0415 - needs an extra
    from gateway.server.node_process import NodeContext, run  # noqa: PLC0415 - `serve` starts sooner without

    context = NodeContext(
        link_server=lambda accept: GrpcServer(accept, options),
        read_settings=None if read_settings is None else lambda: _of_one_process(read_settings()),
        announce=announce,
    )
    return run(settings, context)


def _of_one_process(settings: Settings) -> Settings:
    """Return the settings without GATEWAY_PROCESSES, which divides the limits among gateway processes."""
    return settings.model_copy(update={"processes": 1})


def _grpc_options(settings: Settings) -> GrpcOptions:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its lines on standard error are no log lines
    from gateway.engines.transports.grpc_server import GrpcOptions  # noqa: PLC0415 - as above
    from gateway.server.node_certificates import read_certificates  # noqa: PLC0415 - as above

    return GrpcOptions(
        host=settings.node.host,
        port=settings.node.port,
        token=read_fleet_token(settings.fleet),
        certificates=None
        if settings.fleet.tls_cert_file is None
        else partial(read_certificates, settings.fleet),
        max_body_bytes=settings.max_body_bytes,
    )


def _check_certificates(read: Callable[[], Certificates]) -> None:
    """Raise SettingsError if the certificate, its key or the authorities cannot be used."""
    from gateway.engines.transports.grpc_server import CertificatesUnusable  # noqa: PLC0415 - as above

    try:
        read()
    except CertificatesUnusable as error:
        raise SettingsError([str(error)]) from error
