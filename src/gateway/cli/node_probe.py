"""One try to reach a node, in steps: a connection, encryption, and a link on which it says who it is."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from importlib import metadata
from time import perf_counter
from typing import TYPE_CHECKING, Final

from gateway.engines.fleet.factory import gateway_name, tls_paths
from gateway.engines.fleet.link import Greeting, Link
from gateway.engines.transports.protocol import LinkRefused
from gateway.engines.wire.control import Unload
from workers.errors import NodeLost

if TYPE_CHECKING:
    from gateway.engines.fleet.connector import Connector
    from gateway.engines.members import Member
    from gateway.engines.wire.control import NodeHello
    from gateway.engines.wire.state import NodeState
    from gateway.settings import FleetSettings

_SECONDS: Final = 5.0
_DISTRIBUTION: Final = "model-invocation-endpoint"


class ProbeError(Exception):
    """The node did not accept the link (`refused`), or ended it; the text is the node's reason."""

    def __init__(self, reason: str, *, refused: bool) -> None:
        super().__init__(reason)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class ProbedNode:
    """What a node said of itself, and the time from its name to its answer."""

    hello: NodeHello
    round_trip_seconds: float


async def check_connection(host: str, port: int) -> None:
    """Open a connection and close it. Raise OSError or TimeoutError."""
    async with asyncio.timeout(_SECONDS):
        _, writer = await asyncio.open_connection(host, port)
    writer.close()


async def check_encryption(host: str, port: int, name: str, fleet: FleetSettings) -> None:
    """Open an encrypted connection to the node with this name. Raise OSError, of which ssl.SSLError."""
    if (paths := tls_paths(fleet)) is not None:
        await _shake_hands(host, port, name, paths.load())


async def find_encryption(host: str, port: int) -> bool:
    """Return whether the node speaks TLS, whatever its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        await _shake_hands(host, port, host, context)
    except (OSError, TimeoutError):
        return False
    return True


async def probe(member: Member, connector: Connector) -> ProbedNode:
    """Open a link as a gateway does, and return what the node says. Raise ProbeError, or OSError."""
    owner = _Owner()
    link = Link(owner, request_seconds=_SECONDS)
    try:
        async with asyncio.timeout(_SECONDS):
            transport = await connector.connect(member, link)
            link.open(transport, Greeting(f"check:{gateway_name()}", metadata.version(_DISTRIBUTION)))
            hello = await owner.hello
            started = perf_counter()
            await link.call(lambda call_id: Unload(call_id, ()))  # which a node answers at once
            return ProbedNode(hello, perf_counter() - started)
    except TimeoutError as error:
        text = f"it accepts connections, but says nothing for {_SECONDS:g} s"
        raise ProbeError(text, refused=False) from error
    except NodeLost as error:
        raise ProbeError("it ended the link", refused=False) from error
    except LinkRefused as error:
        raise ProbeError(str(error), refused=True) from error
    except (ConnectionError, ssl.SSLError) as error:
        raise ProbeError(f"it ended the link: {error}", refused=False) from error
    finally:
        link.close("The check is done.")


async def _shake_hands(host: str, port: int, name: str, context: ssl.SSLContext) -> None:
    async with asyncio.timeout(_SECONDS):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    writer.transport.abort()  # no farewell is awaited


class _Owner:
    """The owner of a link that waits for the node's first message."""

    def __init__(self) -> None:
        self.hello: asyncio.Future[NodeHello] = asyncio.get_running_loop().create_future()

    def on_hello(self, hello: NodeHello) -> None:
        if not self.hello.done():
            self.hello.set_result(hello)

    def on_state(self, state: NodeState) -> None:
        """Take no note: the greeting has what the check shows."""

    def on_refused(self, reason: str) -> None:
        self._fail(ProbeError(reason, refused=True))

    def on_lost(self, reason: str, jobs: int) -> None:
        self._fail(ProbeError(reason, refused=False))

    def _fail(self, error: ProbeError) -> None:
        if not self.hello.done():
            self.hello.set_exception(error)
            self.hello.exception()  # it may come after the wait for it
