"""Proves whose headers are believed, by requests over real connections from several addresses."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from gateway.api.forwarded import Forwarded
from gateway.api.server_options import server_options
from gateway.settings import load
from gateway.settings.auth import AuthSettings
from tests.support.raw_clients import SECONDS
from tests.support.tls import CHECKOUT, Pki, tls_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ADMIN = "spiffe://mesh/ns/ops/sa/admin"
XFCC, XFF = "X-Forwarded-Client-Cert", "X-Forwarded-For"


def trusting(networks: str) -> Forwarded:
    return Forwarded(AuthSettings.model_validate({"GATEWAY_TRUSTED_PROXIES": networks}))


class Seen:
    """A server that tells what it knows of a request's client."""

    def __init__(self) -> None:
        self.forwarded = trusting("")
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        found = {
            "address": self.forwarded.client_address(request),
            "names": list(self.forwarded.certificate_names(request)),
        }
        return web.json_response(found)

    async def ask(self, *headers: bytes | str, source: str = "127.0.0.1", raw: bytes = b"") -> Any:
        """Send a request with these header lines from a loopback address; return what is known of it."""
        lines = [each if isinstance(each, bytes) else each.encode() for each in headers]
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.port, local_addr=(source, 0), limit=2**20
            )
            head = b"\r\n".join(
                [b"GET / HTTP/1.1", b"Host: gateway.example.org", b"Connection: close", *lines]
            )
            writer.write(raw or head + b"\r\n\r\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
        self.status = int(answer.split(b" ", 2)[1])
        if self.status != 200:
            return None
        import json  # noqa: PLC0415

        return json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.fixture
async def seen() -> AsyncIterator[Seen]:
    server = Seen()
    app = web.Application()
    app.router.add_get("/", server.handle)
    options = server_options(load({"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}))
    runner = web.AppRunner(app, **options)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await web.SockSite(runner, listener).start()
        server.port = listener.getsockname()[1]
        yield server
        await runner.cleanup()


async def test_nobody_is_trusted_by_default(seen: Seen) -> None:
    """Without trusted proxies no header says anything."""
    answer = await seen.ask(
        f"{XFF}: 9.9.9.9",
        f"{XFCC}: URI={ADMIN}",
    )
    assert answer == {
        "address": "127.0.0.1",
        "names": [],
    }


async def test_only_the_proxy_is_trusted(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """The same headers from another address of the same machine are ignored, without a word in the log."""
    seen.forwarded = trusting("127.0.0.2, 10.0.0.0/8")
    headers = (
        f"{XFF}: 9.9.9.9",
        f"{XFCC}: URI={ADMIN}",
    )
    assert await seen.ask(*headers, source="127.0.0.2") == {
        "address": "9.9.9.9",
        "names": [ADMIN],
    }
    for source in ("127.0.0.1", "127.0.0.3"):
        answer = await seen.ask(*headers, f"{XFCC}: garbage", source=source)
        assert answer == {
            "address": source,
            "names": [],
        }
    assert caplog.records == []


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        (["9.9.9.9"], "9.9.9.9"),
        (["6.6.6.6, 9.9.9.9"], "9.9.9.9"),  # the client wrote the left one
        (["6.6.6.6, 9.9.9.9, 10.1.2.3"], "9.9.9.9"),  # two proxies in a row
        (["9.9.9.9, 10.1.2.3,10.9.9.9 ,\t127.0.0.1"], "9.9.9.9"),
        (["10.1.2.3, 10.9.9.9"], "10.1.2.3"),  # a client inside
        (["6.6.6.6", "9.9.9.9"], "9.9.9.9"),  # HAProxy adds a line
        (["9.9.9.9", "10.1.2.3"], "9.9.9.9"),
        (["9.9.9.9:5678"], "9.9.9.9"),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["2001:DB8:0::1"], "2001:db8::1"),
        (["::ffff:9.9.9.9"], "9.9.9.9"),
        (["9.9.9.9, ::ffff:10.1.2.3"], "9.9.9.9"),
        (["9.9.9.9, fe80::1%eth0"], "fe80::1"),
        (["unknown"], "127.0.0.1"),
        (["9.9.9.9, unknown"], "127.0.0.1"),
        (["9.9.9.9, unknown, 10.1.2.3"], "10.1.2.3"),  # the last that is certain
        (["9.9.9.9,"], "127.0.0.1"),
        (["9.9.9.9,,10.1.2.3"], "10.1.2.3"),
        ([""], "127.0.0.1"),
        (["010.0.0.1"], "127.0.0.1"),
        (["9.9.9.9; DROP TABLE"], "127.0.0.1"),
        (['"9.9.9.9"'], "127.0.0.1"),
        (["\uff19.9.9.9"], "127.0.0.1"),
        (["9.9.9.9%eth0"], "127.0.0.1"),
        (["9.9.9"], "127.0.0.1"),
        (["151587081"], "127.0.0.1"),
        (["6.6.6.6, " * 3000 + "9.9.9.9"], "9.9.9.9"),
        (["6.6.6.6" + ",10.1.2.3" * 3000], "10.1.2.3"),
    ],
)
async def test_chains(seen: Seen, headers: list[str], address: str) -> None:
    """The client is the nearest address that is not a trusted proxy's; nothing left of it matters."""
    seen.forwarded = trusting("127.0.0.1, 10.0.0.0/8")
    assert (await seen.ask(*(f"{XFF}: {value}" for value in headers)))["address"] == address


@pytest.mark.parametrize(
    "headers",
    [
        [f"X_Forwarded_Client_Cert: URI={ADMIN}"],
        [f"X-Forwarded_Client-Cert: URI={ADMIN}"],
        [f"X-Forwarded-Client-Certificate: URI={ADMIN}"],
        [f"XForwardedClientCert: URI={ADMIN}"],
        [f"Forwarded: for=9.9.9.9;URI={ADMIN}"],
        [f"X-SSL-Client-Cert: URI={ADMIN}"],
        [f"{XFCC}: URI={ADMIN}", f"{XFCC}: URI={CHECKOUT}"],
        [f"{XFCC}: URI={CHECKOUT}", f"{XFCC.lower()}: URI={ADMIN}"],
        [f"{XFCC}:", f"{XFCC}: URI={ADMIN}"],
        [f"{XFCC}: URI={ADMIN},"],
        [f"{XFCC}: ,URI={ADMIN}"],
        [f"{XFCC}: URI={ADMIN},By=x"],
        [f"{XFCC}: URI={ADMIN}\u00e9"],
        [f"{XFCC}: ÜRI={ADMIN}"],
        [f"{XFCC}: By={ADMIN}"],
        [f'{XFCC}: Subject="CN={ADMIN}"'],
        [f'{XFCC}: Subject="O=x\\";URI={ADMIN}'],
        [f"{XFCC}: " + "x" * 30_000],
        [f"{XFCC}: " + "a=b," * 7000 + "x"],
    ],
)
async def test_smuggled_certificates(seen: Seen, headers: list[str]) -> None:
    """Other spellings, several lines and garbage give no name, also from a trusted proxy, and no error."""
    seen.forwarded = trusting("127.0.0.1")
    answer = await seen.ask(*headers)
    assert (seen.status, answer["names"]) == (200, [])


@pytest.mark.parametrize(
    "line",
    [
        f"{XFCC}: By=x,\r\n URI={ADMIN}".encode(),  # a folded line
        f"{XFCC}: By=x\r\n\tURI={ADMIN}".encode(),
        f"{XFCC} : URI={ADMIN}".encode(),
        f"{XFCC}\t: URI={ADMIN}".encode(),
        f"{XFCC}: URI={ADMIN}\x00".encode(),
        f" {XFCC}: URI={ADMIN}".encode(),
        f"{XFCC}: URI={CHECKOUT}\nX: URI={ADMIN}".encode(),
        f"{XFCC}: URI={CHECKOUT}\rX-Forwarded-For: 9.9.9.9".encode(),
        f"{XFCC}: ".encode() + b"x" * 40_000,
    ],
)
async def test_what_is_no_header(seen: Seen, line: bytes) -> None:
    """The HTTP parser refuses folded lines, spaces before the colon, control characters and huge values."""
    seen.forwarded = trusting("127.0.0.1")
    answer = await seen.ask("X: y", line)
    assert answer is None or answer["names"] in ([], [CHECKOUT])
    assert answer is None or ADMIN not in answer["names"]
    assert seen.status in {200, 400, 431}
    if b"\nX: " not in line:
        assert seen.status != 200


async def test_tabs_around_a_value(seen: Seen) -> None:
    """White space around a value is not part of it (RFC 9110)."""
    seen.forwarded = trusting("127.0.0.1")
    assert (await seen.ask(f"{XFCC}:\t URI={CHECKOUT} \t"))["names"] == [CHECKOUT]


async def test_the_log_has_one_line(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """A thousand wrong headers of a proxy are one line of each header, which repeats nothing of them."""
    seen.forwarded = trusting("127.0.0.1")
    caplog.set_level(logging.INFO)
    for _ in range(5):
        await seen.ask(f"{XFCC}: secret", f"{XFF}: secret")
    records = [each for each in caplog.records if each.name == "gateway.api.forwarded"]
    assert sorted(each.header for each in records) == [XFCC, XFF]  # type: ignore[attr-defined]
    assert all(each.getMessage().startswith("A trusted proxy sent an X-Forwarded-") for each in records)
    assert "secret" not in caplog.text


async def test_peers_in_two_forms(tmp_path: Path) -> None:
    """A listener of both families sees IPv4 clients as `::ffff:…`: networks of IPv4 match them."""
    for networks, trusted in (("127.0.0.0/8", True), ("::ffff:127.0.0.0/104", True), ("::/0", False)):
        seen = Seen()
        seen.forwarded = trusting(networks)
        app = web.Application()
        app.router.add_get("/", seen.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
            await web.SockSite(runner, listener).start()
            seen.port = listener.getsockname()[1]
            answer = await seen.ask(f"{XFF}: 9.9.9.9", f"{XFCC}: URI={CHECKOUT}")
            assert (answer["address"] == "9.9.9.9") is trusted
            assert answer["names"] == ([CHECKOUT] if trusted else [])
            assert answer["address"] in {"9.9.9.9", "127.0.0.1"}
            await runner.cleanup()


async def test_a_local_socket(tmp_path: Path) -> None:
    """A peer without an address is no trusted proxy, whatever the networks are."""
    seen = Seen()
    seen.forwarded = trusting("0.0.0.0/0, ::/0")
    app = web.Application()
    app.router.add_get("/", seen.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, tmp_path / "s").start()
    reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
    writer.write(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        + f"{XFF}: 9.9.9.9\r\n{XFCC}: URI={ADMIN}\r\n\r\n".encode()
    )
    answer = await reader.read()
    writer.close()
    assert b'{"address": "", "names": []' in answer
    await runner.cleanup()


async def test_certificates_of_connections(tmp_path: Path) -> None:
    """The gateway's own TLS tells the names; a trusted proxy's header counts before its own name."""
    pki = Pki(tmp_path)
    proxy = pki.client(uris=["spiffe://mesh/proxy"])
    for networks, names in (("", ["spiffe://mesh/proxy"]), ("127.0.0.1", [CHECKOUT])):
        forwarded = trusting(networks)

        async def handle(request: web.Request, forwarded: Forwarded = forwarded) -> web.Response:
            return web.json_response(list(forwarded.certificate_names(request)))

        async with tls_server(pki.settings("optional"), {"/": handle}) as server:
            async with server.connect(proxy) as client:
                for header, expected in (
                    (f"{XFCC}: URI={CHECKOUT}", names),
                    ("X: y", ["spiffe://mesh/proxy"]),
                    (f"{XFCC}: garbage", [] if networks else names),
                ):
                    await client.send(f"GET / HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
                    head = await client.answer_head()
                    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
                    body = await client._reader.readexactly(length)
                    assert body.decode() == str(expected).replace("'", '"')
            assert await server.ask(pki.client()) == "[]"
