"""Proves who gets through a handshake, what a reload changes, and how connections end, on both loops."""

from __future__ import annotations

import asyncio
import logging
import ssl
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import uvloop
from aiohttp import web
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.api.client_certificate import ConnectionCertificates
from gateway.api.inflight import InFlightRequests
from gateway.api.unsent import buffered_bytes, unsent_bytes
from gateway.server.tls import TlsReloader, end_outdated_connections
from tests.support.raw_clients import LIVE, SECONDS
from tests.support.tls import CHECKOUT, Pki, TlsServer, tls_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    Run = Callable[[Coroutine[Any, Any, None]], None]

LARGE = 32 * 2**20  # more than the buffers of the sockets hold
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
CERTIFICATES = ConnectionCertificates()


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on each of the two event loops; fail for what the loop reports."""

    def run(work: Coroutine[Any, Any, None]) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        reported: list[dict[str, Any]] = []

        async def watched() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
            await work

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(watched())
        assert reported == []

    return run


async def names(request: web.Request) -> web.Response:
    return web.Response(text=" ".join(CERTIFICATES.names(request)) or "unnamed")


async def large(_: web.Request) -> web.Response:
    return web.Response(body=bytes(LARGE))


ROUTES = {"/": names, "/health/live": names, "/large": large}


def test_clients(pki: Pki, run: Run) -> None:
    """What each client gets, and what is counted; a client that is refused learns why."""
    stranger, yesterday = trustme.CA(), datetime.now(UTC) - timedelta(days=1)

    async def work() -> None:
        async with tls_server(pki.settings("required"), ROUTES) as server:
            for version in (TLS12, TLS13):
                assert await server.ask(pki.client(uris=[CHECKOUT], version=version)) == CHECKOUT
                assert await server.ask(pki.client(common_name="checkout", version=version)) == "unnamed"
                assert server.failures == []
                for client, alert in (
                    (pki.client(version=version), "certificate required|handshake failure"),
                    (pki.client(stranger, uris=[CHECKOUT], version=version), "unknown ca"),
                    (pki.client(uris=[CHECKOUT], expires=yesterday, version=version), "certificate expired"),
                    (
                        pki.client(uris=[CHECKOUT], usage=ExtendedKeyUsageOID.SERVER_AUTH, version=version),
                        "unsupported certificate",
                    ),
                ):
                    with pytest.raises(ssl.SSLError, match=f"(?i){alert}"):
                        await server.ask(client)
                assert server.failures == ["certificate"] * 4
                server.failures.clear()

    run(work())


def test_optional(pki: Pki, run: Run) -> None:
    """A client without a certificate has no name; one with a wrong certificate gets no connection."""

    async def work() -> None:
        async with tls_server(pki.settings("optional"), ROUTES) as server:
            assert await server.ask(pki.client()) == "unnamed"
            assert await server.ask(pki.client(hosts=["billing.example.org"])) == "billing.example.org"
            with pytest.raises(ssl.SSLError, match=r"(?i)unknown ca"):
                await server.ask(pki.client(trustme.CA(), uris=[CHECKOUT]))
        async with tls_server(pki.settings("none"), ROUTES) as server:
            assert await server.ask(pki.client(trustme.CA(), uris=[CHECKOUT])) == "unnamed"

    run(work())


def test_an_authority_of_the_server_is_none_of_clients(pki: Pki, run: Run) -> None:
    """Who signs the gateway's certificate, or any public one, does not sign clients'."""

    async def work() -> None:
        async with tls_server(pki.settings("required"), ROUTES) as server:
            with pytest.raises(ssl.SSLError, match=r"(?i)unknown ca"):
                await server.ask(pki.client(pki.servers, uris=[CHECKOUT]))

    run(work())


def test_an_authority_between_is_enough(pki: Pki, run: Run) -> None:
    """The file may have the authority of one team only; others of the same root are refused."""
    team, other = pki.clients.create_child_ca(), pki.clients.create_child_ca()
    pki.write_client_cas(team)

    async def work() -> None:
        async with tls_server(pki.settings("required"), ROUTES) as server:
            assert await server.ask(pki.client(team, uris=[CHECKOUT])) == CHECKOUT
            for ca in (other, pki.clients):
                with pytest.raises(ssl.SSLError, match=r"(?i)unknown ca"):
                    await server.ask(pki.client(ca, uris=[CHECKOUT]))

    run(work())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_versions(pki: Pki, run: Run) -> None:
    """TLS 1.1 is refused, and the client learns that the version is the reason."""
    old = pki.client(version=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")

    async def work() -> None:
        async with tls_server(pki.settings(), ROUTES) as server:
            with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
                await server.ask(old)
            assert server.failures == ["protocol"]

    run(work())


def test_protocol_negotiation(pki: Pki, run: Run) -> None:
    """A client that offers HTTP/2 too learns that it gets HTTP/1.1."""
    client = pki.client()
    client.set_alpn_protocols(["h2", "http/1.1"])

    async def work() -> None:
        async with tls_server(pki.settings(), ROUTES) as server, server.connect(client) as connection:
            layer = connection._writer.get_extra_info("ssl_object")
            assert layer.selected_alpn_protocol() == "http/1.1"

    run(work())


@pytest.mark.parametrize("method", ["GET", "POST", "CONNECT"])
def test_plain_http(pki: Pki, run: Run, method: str) -> None:
    """A client without TLS learns why it is refused."""

    async def work() -> None:
        async with tls_server(pki.settings(), ROUTES) as server, server.connect(None) as client:
            await client.send(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert await client.status() == 400
            assert server.failures == ["plain_http"]
            await client.send(LIVE)
            assert b"HTTPS only" in await client.rest()

    run(work())


def test_garbage(pki: Pki, run: Run) -> None:
    """Bytes that are neither TLS nor HTTP end the connection, in the end by the time limit."""

    async def work() -> None:
        async with tls_server(pki.settings(), ROUTES, handshake_seconds=0.2) as server:
            for data in (
                b"\x00" * 500,
                b"\x16\x03\x01\xff\xff" + b"\x01" * 500,
                b"SSH-2.0-x\r\n",
                b"\x80\x80",
            ):
                async with server.connect(None) as client:
                    await client.send(data)
                    await client.rest()
            assert not server.server.connections
            assert await server.ask(pki.client()) == "unnamed"

    run(work())


def test_slow_handshakes(pki: Pki, run: Run) -> None:
    """Silent and slow clients are closed after the time for a handshake, and others are served meanwhile."""

    async def work() -> None:
        async with tls_server(pki.settings(), ROUTES, handshake_seconds=1.0) as server:
            silent = [await server.open(None) for _ in range(50)]
            for client in silent[::2]:
                await client.send(b"\x16\x03\x01")
            assert await server.ask(pki.client()) == "unnamed"
            for client in silent:
                assert await client.rest() == b""
            assert not server.server.connections
            for client in silent:
                client.vanish()

    run(work())


def resume(server: TlsServer, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[bool, str]:
    """Ask with a session of before; return whether it was resumed, and the answer. Blocks."""
    import socket  # noqa: PLC0415 - asyncio cannot resume sessions

    with (
        socket.create_connection(("127.0.0.1", server.port), SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as layer,
    ):
        layer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: layer.recv(65536), b""))
        SESSIONS.append(layer.session)
        return bool(layer.session_reused), answer.partition(b"\r\n\r\n")[2].decode()


async def ask_until_served(server: TlsServer, context: ssl.SSLContext) -> str:
    """Ask again and again until there is an answer."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await server.ask(context)
            except OSError:
                await asyncio.sleep(0.05)


def test_too_many_handshakes(pki: Pki) -> None:
    """Silent clients cannot take all descriptors: beyond a number, new ones are refused until some end.

    Only on uvloop: asyncio's own loop leaves the refused socket to the garbage collector.
    """

    async def work() -> None:
        async with tls_server(pki.settings(), ROUTES, handshake_seconds=1.0) as server:
            server.tls.max_handshakes = lambda: 5
            kept = [await server.open(pki.client()) for _ in range(5)]  # these are complete, and do not count
            for client in kept:
                await client.send(LIVE)
                assert await client.status() == 200
            silent = [await server.open(None) for _ in range(6)]
            assert await silent[-1].rest() == b""
            assert len(server.tls._handshakes) == 5
            for client in silent:
                assert await client.rest() == b""
                client.vanish()
            assert await ask_until_served(server, pki.client()) == "unnamed"
            for client in kept:
                client.vanish()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


SESSIONS: list[ssl.SSLSession | None] = []


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_session_outlives_no_authority(pki: Pki, run: Run, version: ssl.TLSVersion) -> None:
    """A client whose authority is removed cannot get in by resuming the session that it had before."""
    client = pki.client(uris=[CHECKOUT], version=version)

    async def work() -> None:
        async with tls_server(pki.settings("required"), ROUTES) as server:
            SESSIONS.clear()
            assert await asyncio.to_thread(resume, server, client, None) == (False, CHECKOUT)
            before = SESSIONS[-1]
            resumed, answer = await asyncio.to_thread(resume, server, client, before)
            assert answer == CHECKOUT
            assert not (resumed and version is TLS13)
            pki.write_client_cas(trustme.CA())
            await reloader(pki, server).check(at_once=True)
            with pytest.raises(ssl.SSLError, match=r"(?i)unknown ca"):
                await asyncio.to_thread(resume, server, client, SESSIONS[-1])

    run(work())


def reloader(
    pki: Pki,
    server: TlsServer,
    client: str = "required",
    on_removed: Callable[[], None] = lambda: None,
) -> TlsReloader:
    return TlsReloader(pki.settings(client), server.tls, on_authorities_removed=on_removed)


def shown(client: Any) -> bytes:
    """Return the server's certificate as the client got it."""
    certificate: bytes = client._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return certificate


def test_a_new_certificate(pki: Pki, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """New connections get it. One from before goes on; a broken file changes nothing and is logged once."""

    async def work() -> None:
        async with tls_server(pki.settings(), ROUTES) as server:
            files, client = reloader(pki, server, "none"), pki.client()
            await files.check(at_once=True)
            async with server.connect(client) as early:
                first = shown(early)
                second = pki.write_server()
                await files.check(at_once=True)
                async with server.connect(client) as late:
                    assert (shown(late), first != second) == (second, True)
                for spoil in (lambda: pki.key.write_bytes(b"?"), pki.cert.unlink):
                    caplog.clear()
                    spoil()
                    for _ in range(3):
                        await files.check(at_once=True)
                    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
                    assert "GATEWAY_TLS_" in record.message
                    async with server.connect(client) as late:
                        assert shown(late) == second
                third = pki.write_server()
                await files.check(at_once=True)
                async with server.connect(client) as late:
                    assert shown(late) == third
                await early.send(LIVE)
                assert await early.status() == 200

    caplog.set_level(logging.INFO)
    run(work())


def test_a_change_is_waited_for(pki: Pki, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A look at the files between the writing of a certificate and of its key is no error."""

    async def work() -> None:
        async with tls_server(pki.settings(), ROUTES) as server:
            files = reloader(pki, server, "none")
            await files.check(at_once=True)
            before, key = server.tls.files, pki.key.read_bytes()
            pki.write_server()
            new_key = pki.key.read_bytes()
            pki.key.write_bytes(key)
            await files.check(at_once=False)
            pki.key.write_bytes(new_key)
            await files.check(at_once=False)
            assert server.tls.files is before
            await files.check(at_once=False)
            assert server.tls.files is not before
            assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []

    run(work())


def test_the_reloader_runs(pki: Pki, run: Run) -> None:
    """It finds a change by itself, and at once if it is asked to."""

    async def work() -> None:
        async with tls_server(pki.settings(), ROUTES) as server:
            for seconds in (0.01, 3600.0):
                files = TlsReloader(
                    pki.settings(), server.tls, on_authorities_removed=lambda: None, poll_seconds=seconds
                )
                task = asyncio.create_task(files.run())
                await asyncio.sleep(0)
                before = server.tls.files
                pki.write_server()
                if seconds > 1:
                    files.request()
                await until(partial(lambda known: server.tls.files is not known, before))
                task.cancel()
                await asyncio.wait([task])

    run(work())


def test_a_removed_authority(pki: Pki, run: Run) -> None:
    """Its clients get no new connection. Old ones end: idle ones at once, others after their response."""
    rest, other = trustme.CA(), trustme.CA()
    pki.write_client_cas(pki.clients, rest)
    in_flight, release = InFlightRequests(), asyncio.Event()

    async def wait(request: web.Request) -> web.Response:
        in_flight.add(request.protocol)
        await release.wait()
        in_flight.remove(request.protocol)
        return await names(request)

    async def work() -> None:
        async with tls_server(pki.settings("optional"), {**ROUTES, "/wait": wait}) as server:

            def end() -> None:
                end_outdated_connections(server.server, server.tls, in_flight=in_flight)

            files, client = reloader(pki, server, "optional", end), pki.client(uris=[CHECKOUT])
            async with (
                server.connect(client) as idle,
                server.connect(client) as busy,
                server.connect(pki.client()) as anonymous,
            ):
                await busy.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
                await until(lambda: in_flight.count == 1)
                pki.write_client_cas(pki.clients, rest, other)  # one more ends nothing
                await files.check(at_once=True)
                await idle.send(LIVE)
                assert await idle.status() == 200
                pki.write_client_cas(rest, other)
                await files.check(at_once=True)
                await idle.rest()
                with pytest.raises(ssl.SSLError, match=r"(?i)unknown ca"):
                    await server.ask(client)
                assert await server.ask(pki.client(rest, uris=[CHECKOUT])) == CHECKOUT
                release.set()
                assert CHECKOUT.encode() in await busy.rest()
                await anonymous.send(LIVE)
                assert await anonymous.status() == 200

    run(work())


def test_an_expired_certificate_on_an_open_connection(pki: Pki, run: Run) -> None:
    """The names count until the certificate expires, also on a connection that stays open."""
    soon = datetime.now(UTC) + timedelta(seconds=3)

    async def work() -> None:
        async with (
            tls_server(pki.settings("required"), ROUTES) as server,
            server.connect(pki.client(uris=[CHECKOUT], expires=soon)) as client,
        ):
            answers = []

            async def unnamed() -> bool:
                await client.send(LIVE)
                head = await client.answer_head()
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
                answers.append((await client._reader.readexactly(length)).decode())
                return answers[-1] == "unnamed"

            async with asyncio.timeout(SECONDS):
                while not await unnamed():  # noqa: ASYNC110 - only time changes it
                    await asyncio.sleep(0.05)
            assert answers[0] == CHECKOUT

    run(work())


def test_reload_under_load(pki: Pki, run: Run) -> None:
    """While certificates change again and again, no request fails, on old connections and on new ones."""
    client = pki.client(uris=[CHECKOUT])

    async def ask_often(server: TlsServer, done: asyncio.Event, answers: list[str]) -> None:
        async with server.connect(client) as kept:
            while not done.is_set():
                answers.append(await server.ask(client))
                await kept.send(LIVE)
                assert await kept.status() == 200
                await kept._reader.readexactly(len(CHECKOUT))

    async def work() -> None:
        async with tls_server(pki.settings("required"), ROUTES) as server:
            files, done, answers = reloader(pki, server), asyncio.Event(), list[str]()
            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(ask_often(server, done, answers))
                for _ in range(10):
                    before = len(answers)
                    pki.write_server()
                    await files.check(at_once=True)
                    await until(partial(lambda count: len(answers) >= count + 8, before))
                done.set()
            assert set(answers) == {CHECKOUT}
            assert server.failures == []

    run(work())


async def only_connection(server: TlsServer) -> web.RequestHandler:
    """Return the server's side of the connection; in TLS 1.3 it is there later than the client's."""
    await until(lambda: len(server.server.connections) == 1)
    (connection,) = server.server.connections
    return connection


def test_slow_reader(pki: Pki, run: Run) -> None:
    """What a client has not read is known, though the layers of TLS hide it; nothing is left in the end."""

    async def work() -> None:
        async with tls_server(pki.settings(), ROUTES) as server, server.connect(pki.client()) as client:
            transport = (await only_connection(server)).transport
            assert transport is not None
            await until(lambda: unsent_bytes(transport) == 0)  # tickets were sent
            assert buffered_bytes(transport) == 0
            client.pause()
            await client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: unsent_bytes(transport) > LARGE // 2)
            before = unsent_bytes(transport)
            assert LARGE // 2 < buffered_bytes(transport) < before <= LARGE + LARGE // 100
            got = 0
            while unsent_bytes(transport) > before - 2 * 2**20:
                got += await client.take(2**20)
            client._reading.resume_reading()
            while got < LARGE:
                got += len(await client._reader.read(2**20))
            await until(lambda: unsent_bytes(transport) == 0)
            assert buffered_bytes(transport) == 0

    run(work())


def test_closing_waits_for_no_client(pki: Pki, run: Run) -> None:
    """A connection that is closed ends though its client does not answer, as idle clients do not."""

    async def work() -> None:
        async with (
            tls_server(pki.settings(), ROUTES, closing_seconds=3600) as server,
            server.connect(pki.client()) as client,
        ):
            connection = await only_connection(server)
            client.pause()
            connection.force_close()
            await until(lambda: not server.server.connections)

    run(work())


def test_the_last_response_is_whole(pki: Pki, run: Run) -> None:
    """A response after which the connection closes reaches a slow client completely, with the end of TLS."""

    async def work() -> None:
        async with tls_server(pki.settings(), ROUTES) as server, server.connect(pki.client()) as client:
            client.pause()
            await client.send(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            connection = await only_connection(server)
            await until(
                lambda: connection.transport is None or unsent_bytes(connection.transport) > LARGE // 2
            )
            client._reading.resume_reading()
            answer = await client.rest()
            assert len(answer.partition(b"\r\n\r\n")[2]) == LARGE

    run(work())


def test_a_refused_body(pki: Pki, run: Run) -> None:
    """A client that is still sending gets the whole response to a body that is refused."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        from gateway.api.middleware.unread_body import send_before_body  # noqa: PLC0415

        response = web.Response(status=413, text="too large")
        await send_before_body(request, response)
        return response

    async def work() -> None:
        routes = {"/": refuse}
        async with tls_server(pki.settings(), routes, lingering_time=0.5) as server:
            async with server.connect(pki.client()) as client:
                await client.send(
                    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + bytes(2**20)
                )
                assert await client.status() == 413
                client.push(bytes(2**20))
                assert b"too large" in await client.rest()
            await until(lambda: not server.server.connections)

    run(work())


def test_a_file_is_sent(pki: Pki, run: Run) -> None:
    """aiohttp sends files by sendfile where it can; over TLS it must not."""

    async def file(_: web.Request) -> web.FileResponse:
        return web.FileResponse(pki.cert)

    async def work() -> None:
        async with tls_server(pki.settings(), {"/": file}) as server:
            assert await server.ask(pki.client()) == pki.cert.read_text()

    run(work())
