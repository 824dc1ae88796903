"""Proves what the pages show without scripts: models, versions, events and the gateway, of a real MLflow."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from gateway.console.static_files import FOLDER
from tests.support.console_pages import HTML, get_html, known_rows
from tests.support.gateways import Gateway, gateway_at, invoke

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGES = ("/", "/ui/models/api-wine", "/ui/models/api-wine/1", "/ui/events", "/ui/gateway")
HOSTILE = "<img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.text += " " if tag in {"td", "th", "tr", "p", "h2"} else ""

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_readable_without_scripts(gateway: Gateway, path: str) -> None:
    """Each has one h1, a title, landmarks, and no script or style in itself, which the policy would stop."""
    async with gateway.get(path, headers=HTML) as answer:
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        found = Elements(await answer.text())
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    tags = [tag for tag, _ in found.found]
    assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
    assert {"header", "nav", "footer"} <= set(tags)
    for tag, attributes in found.found:
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        if tag == "script":
            assert attributes.get("src") or attributes["type"] == "application/json"


async def test_the_list_says_what_each_name_means(gateway: Gateway) -> None:
    """Aliases, `latest` and `best` with the metric that decides, also of an experiment."""
    await known_rows(gateway, "q=api-sums")
    _, html = await get_html(gateway, "/?q=api-sums")
    text = " ".join(Elements(html).text.split())
    assert "@champion v2" in text
    assert "v3" in text
    _, html = await get_html(gateway, "/?source=experiment&q=api/")
    assert "api/forest" in html
    assert "api-sums" not in html


async def test_a_model_that_answered_is_warm(gateway: Gateway) -> None:
    """`warm only` shows it, and the page of its version says how it is served."""
    assert (await invoke(gateway, "/model/api-wine/1/invocation", _WINE))[0] == 200
    _, html = await get_html(gateway, "/?only=warm&q=api-wine")
    assert 'data-row="api-wine" data-state="warm"' in html
    _, html = await get_html(gateway, "/ui/models/api-wine/1")
    text = " ".join(Elements(html).text.split())
    assert "Workers 1" in text
    assert "flavanoids double yes" in text
    assert "Not installed beside the gateway: a-missing-package==1.0" in text
    assert "accuracy 0.97" in text


_WINE = (
    b'{"dataframe_split": {"columns": ["alcohol", "flavanoids", "color_intensity", "proline"],'
    b' "data": [[13.2, 2.8, 4.4, 1050.0]]}}'
)


async def test_a_model_that_fails_says_why(gateway: Gateway) -> None:
    """The list and `failing only` have the reason."""
    assert (await invoke(gateway, "/model/api-lacking/1/invocation"))[0] == 424
    for query in ("only=failing", "q=api-lacking"):
        _, html = await get_html(gateway, f"/?{query}")
        text = " ".join(Elements(html).text.split())
        assert "v1 failed" in text
        assert "a_missing_package" in text


async def test_the_page_of_a_model_gives_reasons(gateway: Gateway) -> None:
    """What `latest` and `best` are, and why."""
    _, html = await get_html(gateway, "/ui/models/api-sums")
    text = " ".join(Elements(html).text.split())
    assert "the newest version, and it is READY" in text
    assert "the lowest rmse of 3 READY versions" in text
    assert "@champion version 2" in text


async def test_names_of_any_kind_lead_to_their_pages(gateway: Gateway) -> None:
    """Each link of the list leads to a page whose heading is the name, as text."""
    _, html = await get_html(gateway, "/?q=api")
    links = [attributes["href"] for tag, attributes in Elements(html).found if tag == "a"]
    models = [link for link in links if link and link.startswith("./ui/models/")]
    assert len(models) >= 15
    for link in models:
        status, page = await get_html(gateway, link[1:])
        assert status == 200, link
        assert page.count("<h1>") == 1
    names = ('api "quotes" & <tags>', "api percent %2F name", "api it's 100% wörld ☃.v1", "api/forest")
    for name in names:
        assert f"./ui/models/{quote(name, safe='@')}" in models


async def test_what_strangers_wrote_is_text(mlflow_server: MlflowServer, gateway: Gateway) -> None:
    """Markup in names, descriptions, tags and aliases is shown, never obeyed; long ones are cut."""
    long = "x" * 4_000
    for path, body in (
        ("registered-models/create", {"name": f"console {HOSTILE}", "description": HOSTILE + long}),
        (
            "registered-models/set-tag",
            {"name": f"console {HOSTILE}", "key": "team", "value": "\u202e" + HOSTILE},
        ),
    ):
        mlflow_server.call(path, body)
    for path in ("/?q=console", f"/ui/models/{quote(f'console {HOSTILE}')}"):
        status, html = await get_html(gateway, path)
        found = Elements(html)
        assert status == 200
        assert all(tag != "img" for tag, _ in found.found)
        assert HOSTILE in found.text
        assert len(html) < 30_000


@pytest.mark.parametrize(
    "path", ["/ui/models/nowhere", "/ui/models/api-wine/77", "/ui/models/api-wine/@none"]
)
async def test_an_error_is_a_page_too(gateway: Gateway, path: str) -> None:
    """With its status, and what is wrong in a sentence."""
    status, html = await get_html(gateway, path)
    assert status == 404
    assert "Not found" in html
    assert "Traceback" not in html


async def test_the_gateway_shows_settings_with_their_origin_and_no_secret(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """A password is named, not shown; what was chosen stands apart from defaults."""
    secret = "s3cret-" + "x" * 30
    values = {"MLFLOW_TRACKING_TOKEN": secret, "GATEWAY_CACHE_KEY": secret, "GATEWAY_MAX_QUEUE": "77"}
    async with gateway_at(mlflow_server.url, tmp_path, **values) as own:
        _, html = await get_html(own, "/ui/gateway")
    assert secret not in html
    text = " ".join(Elements(html).text.split())
    assert "GATEWAY_CACHE_KEY set, not shown environment" in text
    assert "GATEWAY_MAX_QUEUE 77 environment" in text
    assert "GATEWAY_MAX_LOADED_MODELS 20 default" in text


async def test_models_are_found_while_mlflow_is_away(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """A gateway that never reached MLflow shows its pages, and says so."""
    async with gateway_at("http://127.0.0.1:9", tmp_path) as own:
        status, html = await get_html(own, "/")
        assert status == 200
        assert "MLflow gives no list now" in html
        assert "MLflow does not answer since" in html


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (HTML["Accept"], True),
        ("text/html", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("application/json, text/html;q=0.5", False),
        ("text/html;q=0", False),
    ],
)
async def test_clients_get_links_and_browsers_a_page(gateway: Gateway, accept: str, html: bool) -> None:
    """`/` has no 404 any more; caches learn that the header decides."""
    async with gateway.get("/", headers={"Accept": accept} if accept else {}) as answer:
        assert answer.status == 200
        assert (answer.content_type == "text/html") is html
        assert "Accept" in answer.headers["Vary"]
        if not html:
            found: dict[str, Any] = await answer.json()
            for link in found["links"].values():
                async with gateway.get(f"/{link}") as linked:
                    assert linked.status in {200, 503}


@pytest.mark.parametrize("path", PAGES)
async def test_a_whole_page_is_small(gateway: Gateway, path: str) -> None:
    """With every script, style and image that any page loads, not compressed, it has less than 150 KB.

    The list is asked for few models: other tests register as many as they like.
    """
    _, html = await get_html(gateway, "/?q=api-s" if path == "/" else path)
    files = sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file())
    assert len(html.encode()) + files < 150_000


async def test_static_files_are_those_of_the_package_alone(gateway: Gateway) -> None:
    """No name leads out of the folder."""
    async with gateway.get("/ui/static/console.js") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/javascript"
    for name in (
        "nowhere.js",
        "..%2Fviews.py",
        "../views.py",
        "%2e%2e/views.py",
        "/etc/passwd",
        "a%00.js",
        "",
    ):
        async with gateway.get(f"/ui/static/{name}") as answer:
            assert answer.status == 404, name


async def test_off_has_no_page_and_no_file(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """`GATEWAY_CONSOLE=off` leaves nothing of it."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_CONSOLE="off") as own:
        for path in (
            *PAGES,
            "/ui/static/console.js",
            "/console/state",
            "/console/content/",
            "/console/charts",
        ):
            status, _ = await get_html(own, path)
            assert status == 404, path


async def test_buttons_that_change_something_are_there_if_chosen(
    mlflow_server: MlflowServer, gateway: Gateway, tmp_path: Path
) -> None:
    """Only with `full`."""
    assert "data-manage" not in (await get_html(gateway, "/ui/models/api-wine/1"))[1]
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_CONSOLE="full") as own:
        assert "data-manage" in (await get_html(own, "/ui/models/api-wine/1"))[1]
