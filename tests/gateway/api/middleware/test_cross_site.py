"""Proves that pages of other origins can change nothing, and that other clients notice nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway import settings
from gateway.api.errors import HttpError
from gateway.api.middleware.browser import BrowserRules
from gateway.api.middleware.cross_site import is_cross_site
from tests.support.gateways import BODY
from tests.support.raw_clients import bare
from tests.support.web_pages import ATTACKER, PAGE, SUMS, example_routes

if TYPE_CHECKING:
    import ssl

    from tests.support.gateways import Gateway

JSON = {"Content-Type": "application/json"}

in_session = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("site", "cross"),
    [
        ("cross-site", True),
        ("same-site", True),
        ("same-origin", False),
        ("none", False),
        ("Same-Origin", True),
        ("", True),
        ("unknown", True),
        ("same-origin, cross-site", True),
    ],
)
def test_fetch_site_decides(site: str, *, cross: bool) -> None:
    """Whatever the Origin header says; and what is not known is not trusted."""
    for origin in ({}, {"Origin": "http://localhost"}, {"Origin": ATTACKER}, {"Origin": "null"}):
        headers = {"Host": "localhost", "Sec-Fetch-Site": site, **origin}
        assert is_cross_site(make_mocked_request("POST", "/", headers=headers)) is cross


SAME = [
    ("http://localhost:8080", "localhost:8080"),
    ("http://localhost", "localhost"),
    ("http://localhost", "localhost:80"),
    ("http://LocalHost:8080", "LOCALHOST:8080"),
    ("https://models.example.org", "models.example.org"),  # a proxy ended TLS
    ("https://models.example.org", "models.example.org:443"),
    ("https://models.example.org:8443", "models.example.org:8443"),
    ("http://[::1]:8080", "[::1]:8080"),
]
OTHERS = [
    ("null", "localhost"),
    ("", "localhost"),
    ("", ""),
    ("http://", ""),
    ("http://localhost", ""),
    ("http://localhost:3000", "localhost:8080"),
    ("http://localhost", "localhost:8080"),
    ("http://localhost:8080", "localhost"),
    ("https://localhost", "localhost:80"),
    ("http://localhost:443", "localhost"),
    ("http://127.0.0.1:8080", "localhost:8080"),
    ("http://localhost:8080.evil.example", "localhost:8080"),
    ("http://evil.example/localhost:8080", "localhost:8080"),
    ("http://localhost:8080/", "localhost:8080"),
    ("http://a@localhost:8080", "localhost:8080"),
    ("http://evil.localhost:8080", "localhost:8080"),
    ("ftp://localhost:8080", "localhost:8080"),
    ("file://", "localhost"),
    ("chrome-extension://localhost", "localhost"),
    ("localhost:8080", "localhost:8080"),
    ("//localhost:8080", "localhost:8080"),
    ("http://localhost:8080 http://evil.example", "localhost:8080"),
    ("http://localhost:8080, http://evil.example", "localhost:8080"),
]


@pytest.mark.parametrize(("origin", "host"), SAME)
def test_an_origin_that_is_the_host(origin: str, host: str) -> None:
    """Without Sec-Fetch-Site, as on addresses without TLS: the page was loaded from here."""
    assert not is_cross_site(make_mocked_request("POST", "/", headers={"Host": host, "Origin": origin}))


@pytest.mark.parametrize(("origin", "host"), OTHERS)
def test_an_origin_that_is_not(origin: str, host: str) -> None:
    """Another host, another port, or no host at all, as in a sandboxed frame."""
    assert is_cross_site(make_mocked_request("POST", "/", headers={"Host": host, "Origin": origin}))


@pytest.mark.parametrize(("origin", "cross"), [("http://a.example", True), ("https://a.example", False)])
def test_the_scheme_counts_where_the_gateway_has_tls_itself(origin: str, *, cross: bool) -> None:
    """What came without TLS may come from a page that someone on the way has changed."""
    sslcontext: ssl.SSLContext = object()  # type: ignore[assignment] # only its presence counts
    request = make_mocked_request(
        "POST", "/", headers={"Host": "a.example", "Origin": origin}, sslcontext=sslcontext
    )
    assert is_cross_site(request) is cross


def test_a_request_without_host_is_of_no_page() -> None:
    """Unless it says that it is."""
    assert not is_cross_site(make_mocked_request("POST", "/"))
    assert is_cross_site(make_mocked_request("POST", "/", headers={"Origin": "http://localhost"}))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "QUERY"])
def test_every_method_but_three(method: str) -> None:
    """A list of hostile methods would be incomplete."""
    rules = BrowserRules(settings.load({}).browser)
    with pytest.raises(HttpError) as raised:
        rules.check(make_mocked_request(method, "/", headers={"Host": "localhost", **PAGE}))
    assert (raised.value.status, raised.value.code) == (403, "PERMISSION_DENIED")
    for safe in ("GET", "HEAD", "OPTIONS"):
        assert rules.check(make_mocked_request(safe, "/", headers={"Host": "localhost", **PAGE})) is None


@in_session
@pytest.mark.parametrize(
    "headers",
    [
        PAGE,
        {"Origin": ATTACKER},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
    ],
    ids=repr,
)
async def test_every_route_that_changes_something(gateway: Gateway, headers: dict[str, str]) -> None:
    """A page of another origin is refused; what it may send is not readable for it."""
    types: tuple[dict[str, str], ...] = (
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json"},
    )
    for method, path in example_routes():
        for sent in types if headers is PAGE else types[:1]:
            async with gateway.request(method, path, headers={**headers, **sent}) as answer:
                assert not [name for name in answer.headers if name.startswith("Access-Control-")]
                assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
                if method == "GET":
                    assert answer.status in {200, 503}, path
                    continue
                assert answer.status == 403, path
                error = await answer.json()
        if method != "GET":
            message = error["error"] if path.startswith("/v2") else error["message"]
            assert "GATEWAY_ALLOWED_ORIGINS" in message
            assert "Origin" not in headers or repr(headers["Origin"]) in message


ATTACKS = {
    "another method in a header": ("POST", {"X-HTTP-Method-Override": "GET", "X-HTTP-Method": "GET"}, 403),
    "another method by a GET": ("GET", {"X-HTTP-Method-Override": "POST", "X-HTTP-Method": "POST"}, 405),
    "an own host in another header": ("POST", {"X-Forwarded-Host": "attacker.example:9000"}, 403),
    "a Referer of the gateway": ("POST", {"Referer": "http://127.0.0.1/docs"}, 403),
    "a content type that no form has": ("POST", {"Content-Type": "application/json"}, 403),
    "a key that is not needed": ("POST", {"X-API-Key": "x"}, 403),
}


@in_session
@pytest.mark.parametrize("what", ATTACKS)
async def test_ways_around(gateway: Gateway, what: str) -> None:
    """No header of a request makes a page's request one of another client."""
    method, headers, status = ATTACKS[what]
    async with gateway.request(method, SUMS, headers={**PAGE, **headers}, data=BODY) as answer:
        assert answer.status == status


@in_session
@pytest.mark.parametrize("method", ["get", "Post", "GET\t", "\x00GET"])
async def test_methods_are_as_they_are_written(gateway: Gateway, method: str) -> None:
    """A method in lower case is not one of the three; it is no method at all."""
    sent = f"{method} {SUMS} HTTP/1.1\r\nHost: localhost\r\nOrigin: {ATTACKER}\r\n\r\n"
    async with bare(str(gateway.make_url(""))) as client:
        await client.send(sent.encode())
        assert await client.status() == 400


@in_session
async def test_a_refused_body_is_not_the_next_request(gateway: Gateway) -> None:
    """The connection ends with the refusal, and a form's body is never read as a request."""
    sent = (
        "POST /v2/repository/index HTTP/1.1\r\nHost: localhost\r\n"
        f"Origin: {ATTACKER}\r\nContent-Length: 10000\r\n\r\n"
        "POST /v2/repository/models/api-sums/load HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    )
    async with bare(str(gateway.make_url(""))) as client:
        await client.send(sent.encode())
        answers = await client.rest()
    assert (answers[:13], answers.count(b"HTTP/1.1 ")) == (b"HTTP/1.1 403 ", 1)


@in_session
async def test_other_clients_see_no_change(gateway: Gateway) -> None:
    """Neither do those that the gateway's own page sends, or a person does."""
    own = str(gateway.make_url("")).rstrip("/")
    for headers in (
        {},
        {"Origin": own},
        {"Origin": own, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ):
        async with gateway.post(SUMS, headers={**JSON, **headers}, data=BODY) as answer:
            assert answer.status == 200
            assert not [
                name for name in answer.headers if name.startswith("Access-Control-") or name == "Vary"
            ]
