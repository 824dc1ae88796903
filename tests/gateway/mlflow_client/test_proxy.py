"""Proves when calls to MLflow take an HTTP proxy, with a real proxy in between."""

from __future__ import annotations

import pytest
from aiohttp import encode_basic_auth, web
from aiohttp.test_utils import TestServer
from yarl import URL

from gateway.mlflow_client import MlflowClient
from gateway.mlflow_client.proxy import choose_proxy
from gateway.settings import load

HOST = "http://mlflow.invalid:5000"


@pytest.mark.parametrize(
    ("url", "variables", "proxy"),
    [
        (HOST, {}, None),
        (HOST, {"HTTP_PROXY": "http://p:3128"}, "http://p:3128"),
        (HOST, {"http_proxy": "p:3128"}, "http://p:3128"),
        (HOST, {"HTTPS_PROXY": "http://p:3128"}, None),
        ("https://mlflow.invalid", {"HTTPS_PROXY": "http://u:w@p:3128"}, "http://u:w@p:3128"),
        (HOST, {"HTTP_PROXY": "http://p:3128", "NO_PROXY": "other, .invalid"}, None),
        (HOST, {"HTTP_PROXY": "http://p:3128", "NO_PROXY": "valid"}, "http://p:3128"),
        (HOST, {"HTTP_PROXY": "http://p:3128", "NO_PROXY": "*"}, None),
        ("http://10.1.2.3", {"HTTP_PROXY": "http://p:3128", "NO_PROXY": "10.0.0.0/8"}, None),
        ("http://10.1.2.3", {"HTTP_PROXY": "http://p:3128", "NO_PROXY": "11.0.0.0/8,x"}, "http://p:3128"),
        ("http://127.0.0.1:5000", {"HTTP_PROXY": "http://p:3128"}, None),
        ("http://[::1]:5000", {"HTTP_PROXY": "http://p:3128"}, None),
        ("http://localhost:5000", {"HTTP_PROXY": "http://p:3128"}, None),
    ],
)
def test_the_choice(url: str, variables: dict[str, str], proxy: str | None) -> None:
    """By the scheme of the address, unless it is this machine or excluded."""
    chosen = choose_proxy(load(variables).mlflow, URL(url))
    assert (str(chosen) if chosen else None) == proxy


@pytest.mark.parametrize("proxy", ["socks5://p:1080", "https://p", "http://"])
def test_a_proxy_of_another_kind_is_an_error(proxy: str) -> None:
    """Its name is in the message; its value, which may hold a password, is not."""
    with pytest.raises(ValueError, match=r"^HTTP_PROXY must be an http address"):
        choose_proxy(load({"HTTP_PROXY": proxy}).mlflow, URL(HOST))


async def test_calls_take_the_proxy() -> None:
    """The proxy alone can resolve the host; it gets the user name and password of its address."""
    seen: list[tuple[str, str | None]] = []

    async def forward(request: web.Request) -> web.Response:
        seen.append((request.raw_path, request.headers.get("Proxy-Authorization")))
        return web.json_response({"registered_model": {"name": "wine"}})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    async with TestServer(app) as proxy:
        values = {"MLFLOW_TRACKING_URI": HOST, "HTTP_PROXY": str(proxy.make_url("/").with_user("u"))}
        mlflow = MlflowClient(load(values).mlflow)
        async with mlflow:
            model = await mlflow.get_registered_model("wine")
    assert model.name == "wine"
    path, login = seen[0]
    assert path.startswith(f"{HOST}/api/2.0/mlflow/registered-models/get")
    assert login == encode_basic_auth("u", "")
