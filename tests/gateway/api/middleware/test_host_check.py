"""Proves which names a request may be sent to: no web page can make its own name lead to the gateway."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.middleware.host_check import HostCheck
from tests.support.gateways import Gateway, gateway_at
from tests.support.raw_clients import bare
from tests.support.web_pages import example_routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.mlflow_server import MlflowServer

in_session = pytest.mark.asyncio(loop_scope="session")

ADDRESSES = [
    "127.0.0.1",
    "127.0.0.1:8080",
    "127.0.0.1:0",
    "10.1.2.3:65535",
    "[::1]",
    "[::1]:8080",
    "[2001:DB8::1]:80",
    "[::ffff:127.0.0.1]",
]
LOCALHOST = [
    "localhost",
    "localhost:8080",
    "LOCALHOST:1",
    "LocalHost",
    "localhost.",
    "localhost.:8080",
    "localhost:",
]
FOREIGN = [
    "attacker.example",
    "127.0.0.1.evil.example",
    "127.0.0.1.evil.example:8080",
    "localhost.evil",
    "evil.localhost",
    "notlocalhost",
    "localhost.localdomain",
    "localhost..",
    "0x7f.1",
    "0x7f000001",
    "2130706433",
    "127.1",
    "127.0.1",
    "0177.0.0.1",
    "127.0.0.01",
    "127.0.0.1.",
    "127.0.0.1..",
    "127.0.0.256",
    "1.2.3.4.5",
    "::1",
    "[::1",
    "::1]",
    "[]",
    "[127.0.0.1]",
    "[localhost]",
    "[::1%25eth0]",
    "[fe80::1%eth0]",
    "[::1]evil",
    "[::1].evil.example",
    "[v1.a]",
    "[::1]:65536",
    "a@localhost",
    "localhost@evil.example",
    "localhost:8080@evil.example",
    "localhost:80:80",
    "localhost:65536",
    "localhost:999999",
    "localhost:-1",
    "localhost:+1",
    "localhost:8o80",
    "localhost: 80",
    "localhost :80",
    "local host",
    "localhost,evil.example",
    "localhost;evil.example",
    "localhost/",
    "localhost/.evil.example",
    "localhost\\.evil.example",
    "localhost#.evil.example",
    "localhost?.evil.example",
    "localhost%00.evil.example",
    "localhost%2eevil.example",
    "http://localhost",
    "//localhost",
    "localhost\t",
    "\tlocalhost",
    "localhost\n",
    "localhost\x00",
    "localhoſt",  # noqa: RUF001 - lower() and casefold() must not make it localhost
    "１２７.0.0.1",  # noqa: RUF001 - digits that are not ASCII
    "١٢٧.0.0.1",
    "localhost:８０",  # noqa: RUF001 - likewise
    "lоcalhost",  # noqa: RUF001 - a Cyrillic letter
    "löcalhost",
    "xn--lcalhost-z4a",
    "_localhost",
    "localhost_",
    "-localhost",
    "localhost-",
    ".localhost",
    "",
    " ",
    ".",
    ":80",
    "*",
    "*.example.org",
    "null",
    "localhost" + "." * 300,
    "a" * 300,
    "a." * 20_000,
]


@pytest.mark.parametrize("authority", ADDRESSES + LOCALHOST)
def test_addresses_and_localhost_are_allowed(authority: str) -> None:
    """The name of a page that was rebound is never one of these."""
    assert HostCheck(()).allows(authority)


@pytest.mark.parametrize("authority", FOREIGN, ids=lambda text: repr(text[:30]))
def test_everything_else_is_not(authority: str) -> None:
    """Neither names, nor forms of addresses that are names to some resolver, nor what is no authority."""
    assert not HostCheck(()).allows(authority)
    assert not HostCheck(("models.example.org", "*.example.net", "gateway:8080")).allows(authority)


@pytest.mark.parametrize(
    ("allowed", "yes", "no"),
    [
        (
            "models.example.org",
            ["models.example.org", "MODELS.example.ORG:1", "models.example.org.", "models.example.org.:443"],
            [
                "a.models.example.org",
                "example.org",
                "models.example.org.evil",
                "modelsxexample.org",
                "models",
            ],
        ),
        (
            "*.example.org",
            [
                "a.example.org",
                "a.b.example.org:8080",
                "A.Example.Org.",
                "my_service.example.org",
                "xn--a.example.org",
            ],
            [
                "example.org",
                ".example.org",
                "..example.org",
                "evilexample.org",
                "a.example.org.evil",
                "*.example.org",
            ],
        ),
        (
            "*.example.org:8443",
            ["a.example.org:8443", "a.example.org.:8443"],
            [
                "a.example.org",
                "a.example.org:443",
                "a.example.org:84430",
                "example.org:8443",
                "a.example.org:08443",
            ],
        ),
        (
            "gateway:8080",
            ["gateway:8080", "GATEWAY:8080", "gateway.:8080"],
            ["gateway", "gateway:80", "gateway:", "gateway:08080", "gateway:8080:8080", "gateway:8080."],
        ),
        ("gateway:80", ["gateway", "gateway:80", "gateway:"], ["gateway:8080", "gateway:443", "gateway:080"]),
        ("*.a.example:443", ["b.a.example", "b.a.example:443"], ["b.a.example:80", "a.example:443"]),
        ("my_service", ["my_service", "my_service:80"], ["my-service", "myservice"]),
        ("*", ["any.thing", "a@b", "", "ä"], ["x" * 300]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_allowed_hosts(allowed: str, yes: list[str], no: list[str]) -> None:
    """A name, a name with a port, all names below a domain, or all names; addresses stay allowed too."""
    check = HostCheck((allowed,))
    assert [authority for authority in yes if not check.allows(authority)] == []
    assert [authority for authority in no if check.allows(authority)] == []
    assert check.allows("127.0.0.1:8080")


@given(
    st.text(max_size=20),
    st.sampled_from(["localhost", "127.0.0.1", "[::1]", "a.example.org"]),
    st.text(max_size=20),
)
def test_what_stands_around_an_allowed_name(before: str, name: str, after: str) -> None:
    """It makes another name, unless it is a port, a last dot, or a part of an address or a domain."""
    authority = f"{before}{name}{after}"
    if HostCheck(("*.example.org",)).allows(authority):
        host = re.sub(r":[0-9]{0,5}$", "", authority, flags=re.ASCII).lower()
        if host.removesuffix(".") != "localhost" and not host.removesuffix(".").endswith(".example.org"):
            ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        assert re.fullmatch(r"[a-z0-9_.:\[\]-]+", host, re.ASCII)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def named(
    mlflow_server: MlflowServer, registered: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """A gateway with names."""
    cache = tmp_path_factory.mktemp("cache")
    hosts = {"GATEWAY_ALLOWED_HOSTS": "models.example.org,gateway:8080"}
    async with gateway_at(mlflow_server.url, cache, **hosts) as client:
        yield client


def is_probe(path: str) -> bool:
    return path.rstrip("/") in {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}


@in_session
async def test_every_route_refuses_a_foreign_name(gateway: Gateway) -> None:
    """421, in the error form of the path's protocol; probes of health may use any name."""
    for method, path in example_routes():
        async with gateway.request(method, path, headers={"Host": "rebind.attacker.example:8080"}) as answer:
            if is_probe(path):
                assert answer.status in {200, 503}, path
                continue
            assert answer.status == 421, path
            error = await answer.json()
        if path.startswith("/v2"):
            assert error.keys() == {"error"}
            message = error["error"]
        else:
            assert (error["error_code"], error["request_id"]) == (
                "BAD_REQUEST",
                answer.headers["X-Request-Id"],
            )
            message = error["message"]
        assert "'rebind.attacker.example:8080'" in message
        assert "GATEWAY_ALLOWED_HOSTS" in message


@in_session
@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/health", "/health/live/x", "/health%2Flive", "/health/live//"]
)
async def test_paths_that_are_no_routes(gateway: Gateway, path: str) -> None:
    """They are refused too, also if they look like a probe."""
    async with bare(str(gateway.make_url(""))) as client:
        await client.send(f"GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n".encode())
        assert await client.status() == 421


@in_session
async def test_other_methods_on_probes(gateway: Gateway) -> None:
    """A probe with a body is still no way in."""
    async with gateway.post("/health/live", headers={"Host": "evil.example"}, data=b"x") as answer:
        assert answer.status == 405


@in_session
async def test_the_message_repeats_no_bytes_that_a_terminal_or_page_acts_on(gateway: Gateway) -> None:
    """What the client sent is shortened and escaped."""
    async with bare(str(gateway.make_url(""))) as client:
        host = b"<b>\xc3\xa4\xff\xe2\x80\xae'\"" + b"x" * 1000
        await client.send(b"GET /model HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert head.split()[1] == b"421"
    assert body.isascii()
    message = json.loads(body)["message"]
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 300


REQUESTS = {
    "HTTP/1.0 without Host": (b"GET /version HTTP/1.0\r\n\r\n", 200),
    "HTTP/1.0 with a foreign Host": (b"GET /version HTTP/1.0\r\nHost: evil.example\r\n\r\n", 421),
    "HTTP/1.1 without Host": (b"GET /version HTTP/1.1\r\n\r\n", 400),
    "an empty Host": (b"GET /version HTTP/1.1\r\nHost:\r\n\r\n", 421),
    "two Hosts": (b"GET /version HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
    "two Hosts, the other way": (
        b"GET /version HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n",
        400,
    ),
    "two Hosts, HTTP/1.0": (b"GET /version HTTP/1.0\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
    "two equal Hosts": (b"GET /version HTTP/1.1\r\nHost: localhost\r\nhost: localhost\r\n\r\n", 400),
    "a folded Host": (b"GET /version HTTP/1.1\r\nHost: evil.example\r\n localhost\r\n\r\n", 400),
    "a space before the colon": (b"GET /version HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
    "spaces around": (b"GET /version HTTP/1.1\r\nHost:   localhost:1  \r\n\r\n", 200),
    "another header for it": (
        b"GET /version HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\n\r\n",
        421,
    ),
    "an absolute target": (b"GET http://evil.example/version HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
    "an absolute target with its own name": (
        b"GET http://localhost/version HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        421,
    ),
    "both ours": (b"GET http://localhost:1/version?x HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    "both ours, without a path": (b"GET http://localhost?x HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "an absolute target with a user": (
        b"GET http://localhost@evil/version HTTP/1.1\r\nHost: localhost\r\n\r\n",
        421,
    ),
    "a backslash": (b"GET http://evil\\@localhost/version HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "an absolute target, HTTP/1.0": (b"GET http://evil.example/version HTTP/1.0\r\n\r\n", 421),
    "an absolute target with its own name, HTTP/1.0": (b"GET http://127.0.0.1/version HTTP/1.0\r\n\r\n", 200),
    "two slashes": (b"GET //localhost/version HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    "only an authority": (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    "a probe by an absolute target": (b"GET http://x/health/live HTTP/1.1\r\nHost: y\r\n\r\n", 200),
}


@in_session
@pytest.mark.parametrize("what", REQUESTS)
async def test_requests_as_bytes(gateway: Gateway, what: str) -> None:
    """No form of a request gets a foreign name past the check."""
    sent, status = REQUESTS[what]
    async with bare(str(gateway.make_url(""))) as client:
        await client.send(
            b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )  # a name that is allowed is remembered
        assert await client.status() == 200
    async with bare(str(gateway.make_url(""))) as client:
        await client.send(sent)
        assert await client.status() == status


@in_session
async def test_pipelined_requests_are_checked_one_by_one(gateway: Gateway) -> None:
    """An allowed request says nothing about the connection's next one, and a refused one stops no other."""
    ours, foreign = (
        f"GET /version HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() for host in ("localhost", "evil.example")
    )
    last = ours.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with bare(str(gateway.make_url(""))) as client:
        await client.send(ours + foreign + ours + foreign + foreign + last)
        lines = (await client.rest()).split(b"HTTP/1.1 ")[1:]
    assert [line[:3] for line in lines] == [b"200", b"421", b"200", b"421", b"421", b"200"]


@in_session
async def test_a_refused_body_is_not_the_next_request(gateway: Gateway) -> None:
    """The connection ends with the refusal, so bytes of the body are never read as a request."""
    hidden = (
        b"POST /v2/repository/models/api-sums/load HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    )
    foreign = b"POST /v2/repository/index HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 10000\r\n\r\n"
    async with bare(str(gateway.make_url(""))) as client:
        await client.send(foreign + hidden)
        answers = await client.rest()
    assert answers.count(b"HTTP/1.1 ") == 1
    assert answers.startswith(b"HTTP/1.1 421 ")


@in_session
async def test_names_that_are_allowed(named: Gateway) -> None:
    """The setting adds names, and the others stay refused."""
    for host, status in {
        "models.example.org": 200,
        "Models.Example.org:8443": 200,
        "gateway:8080": 200,
        "gateway": 421,
        "localhost": 200,
        "example.org": 421,
    }.items():
        for _ in range(2):  # the second time, an allowed name is a known one
            async with named.get("/version", headers={"Host": host}) as answer:
                assert answer.status == status, host


def test_many_names_take_no_memory() -> None:
    """Only allowed ones are remembered, and at most a thousand."""
    check = HostCheck(("*",))
    for number in range(1100):
        check.check(make_mocked_request("GET", "/model", headers={"Host": f"{number}.example"}))
    assert 0 < len(check.known) <= 1024
    assert max(map(len, filter(None, check.known))) < 300
