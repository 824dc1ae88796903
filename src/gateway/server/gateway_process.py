"""One of several gateway processes, forked by the supervisor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.server import server
from gateway.server.server import ProcessContext
from gateway.telemetry.metrics.collector import SnapshotSlot

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from gateway.auth.limits.shared_rates import SharedRates
    from gateway.server.child_process import ChildContext
    from gateway.server.node_socket import NodeSocket
    from gateway.server.tls import ServerTls
    from gateway.settings import Settings
    from gateway.telemetry.metrics.shared import SharedTelemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSetup:
    """What all processes below a supervisor share, made before they are forked.

    Each gateway process has one set of listeners. They count rates of requests in `rates`, and reach the
    process that holds the models over `node`; None if the models are on other machines.
    """

    listener_sets: Sequence[Sequence[socket.socket]]
    tls: ServerTls | None
    read_settings: Callable[[], Settings] | None
    telemetry: SharedTelemetry
    rates: SharedRates
    node: NodeSocket | None

    @property
    def node_number(self) -> int | None:
        """The number of the process that holds the models, the one after those of the gateway processes."""
        return len(self.listener_sets) + 1 if self.node is not None else None

    def slot(self, number: int) -> SnapshotSlot:
        """Return the place of a process among all of them."""
        shared = self.telemetry
        return SnapshotSlot(
            shared.metrics,
            number,
            history=shared.history,
            events=shared.events,
            states=shared.states,
            node_number=self.node_number,
        )


def serve(setup: SharedSetup, settings: Settings, number: int, child: ChildContext) -> int:
    """Serve as gateway process `number`, counted from 1, and return the exit status."""
    for other, listeners in enumerate(setup.listener_sets, start=1):
        if other != number:  # once their own process is gone, nothing would accept connections there
            for listener in listeners:
                listener.close()
    if setup.node is not None:
        setup.node.listener.close()
    context = ProcessContext(
        listeners=setup.listener_sets[number - 1],
        tls=setup.tls,
        announce=child.announce,
        read_settings=setup.read_settings,
        slot=setup.slot(number),
        heartbeat=child.heartbeat,
        rates=setup.rates,
        node=setup.node.address if setup.node is not None else None,
    )
    return server.run(settings, context)
