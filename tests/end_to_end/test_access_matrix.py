"""Every kind of caller asks every route about every kind of model: each answer is what its grants say.

What is right is worked out by the few lines of `may` below, and not by the gateway's own rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import pytest_asyncio

from gateway.auth.access_file.key import digest, new_key
from tests.support import access_files
from tests.support.gateways import gateway_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.support.gateways import Gateway
    from tests.support.mlflow_server import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

CALLERS: dict[str, dict[str, list[str]]] = {
    "all": {"read": ["*"], "invoke": ["*"], "manage": ["*"], "status": ["*"]},
    "nothing": {},
    "reader": {"read": ["*"]},
    "invoker": {"invoke": ["*"]},
    "manager": {"manage": ["*"]},
    "watcher": {"status": ["*"]},
    "one-model": {"read": ["api-sums"], "invoke": ["api-sums"]},
    "one-alias": {"invoke": ["api-sums@champion"]},
    "one-alias-and-read": {"read": ["api-sums"], "invoke": ["api-sums@champion"]},
    "one-number": {"read": ["api-sums/1"], "invoke": ["api-sums/1"], "manage": ["api-sums/1"]},
    "latest": {"invoke": ["api-sums/latest"], "read": ["api-sums/latest"], "manage": ["api-sums/latest"]},
    "by-prefix": {"read": ["api-s*"], "invoke": ["api-s*"], "manage": ["api-t*"]},
    "other-case": {"read": ["API-SUMS"], "invoke": ["Api-Sums"]},
    "no-version": {"invoke": ["api-*/no"], "read": ["api-*/m-*"]},
    "reads-one-invokes-all": {"read": ["api-tens"], "invoke": ["*"]},
    "absent": {"read": ["no-such-model"], "invoke": ["no-such-model"], "manage": ["no-such-model"]},
}
MODELS = ("api-sums", "api-tens", "api-chat", "api-lost", "no-such-model", "API-SUMS", "api sums", "*")
VERSIONS = ("1", "latest", "best", "@champion", "999")
HIDDEN = re.compile(r"that these credentials may see\.$")


@dataclass(frozen=True)
class Case:
    """One request: its route's action, and the model and version that it names; None is all of a model."""

    method: str
    path: str
    action: str
    model: str = ""
    version: str | None = None
    body: dict[str, Any] = field(default_factory=dict, hash=False)


def cases() -> list[Case]:
    """Return the requests of all routes; none that may go on has an effect, or runs a model."""
    found = [
        *(Case("GET", path, "open") for path in ("/health/live", "/v2/health/live", "/docs")),
        *(Case("GET", path, "list") for path in ("/model", "/models/", "/v2", "/api/2.0/endpoints/")),
        *(Case("GET", path, "status") for path in ("/metrics", "/version/")),
        Case("POST", "/v2/repository/index", "list", body={"ready": True}),
    ]
    for model in MODELS:
        name = model.replace(" ", "%20").replace("*", "%2A")
        found += [
            Case("GET", f"/model/{name}", "read", model),
            Case("GET", f"/v2/models/{name}", "read", model),
            Case("POST", f"/v2/models/{name}/infer", "invoke", model, "latest"),
            Case("GET", f"/v2/models/{name}/ready", "invoke", model, "latest"),
            Case("POST", f"/endpoints/{name}/invocations", "invoke", model, "latest"),
            Case("GET", f"/api/2.0/endpoints/{name}", "read", model, "latest"),
            *(
                Case(
                    "POST", f"/v2/repository/models/{name}/unload", "manage", model, version,
                    body={} if version is None else {"parameters": {"version": version}},
                )
                for version in (None, "999")
            ),
        ]  # fmt: skip
        for version in VERSIONS:
            found += [
                Case("GET", f"/model/{name}/{version}", "read", model, version),
                Case("HEAD", f"/models/{name}/{version}/", "read", model, version),
                Case("GET", f"/model/{name}/{version}/openapi.json", "read", model, version),
                Case("POST", f"/model/{name}/{version}/invocation", "invoke", model, version),
                Case("POST", f"/model/{name}/invocation/{version}", "invoke", model, version),
                Case("POST", f"/model/{name}/{version}/invocations", "invoke", model, version),
                Case("GET", f"/model/{name}/{version}/ping", "invoke", model, version),
                Case("GET", f"/model/{name}/{version}/version", "invoke", model, version),
                Case("POST", f"/endpoints/{name}/{version}/invocations", "invoke", model, version),
                Case("GET", f"/api/2.0/endpoints/{name}/{version}", "read", model, version),
                Case("POST", f"/v2/models/{name}/versions/{version}/infer", "invoke", model, version),
            ]
    return found


def may(grants: Mapping[str, list[str]], action: str, model: str, version: str | None) -> bool:
    """Return what the grants say, by the words of docs/identity.md."""
    for pattern in grants.get(action, []):
        name, alias, number = pattern, "", ""
        if "@" in pattern:
            name, alias = pattern.split("@")
        elif "/" in pattern:
            name, number = pattern.split("/")
        if not fnmatchcase(model, name):
            continue
        if not alias and not number:
            return True
        if version is not None and fnmatchcase(version, f"@{alias}" if alias else number):
            return alias != "" or not version.startswith("@")
    return False


def expected(grants: Mapping[str, list[str]], case: Case) -> str:
    """Return what must become of a request."""
    if case.action in {"open", "list"}:
        return "goes on"
    if case.action == "status":
        return "goes on" if grants.get("status") else "forbidden"
    if may(grants, case.action, case.model, case.version):
        return "goes on"
    if case.action == "manage":
        names = [re.split("[@/]", pattern)[0] for pattern in grants.get("manage", [])]
        if not any(fnmatchcase(case.model, name) for name in names):
            return "forbidden" if may(grants, "read", case.model, None) else "not seen"
    if may(grants, "read", case.model, case.version):
        return "forbidden" if case.action != "read" else "goes on"
    return "not seen"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def keys() -> dict[str, str]:
    """A key for each caller."""
    return {name: new_key()[0] for name in CALLERS}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(
    mlflow_server: MlflowServer,
    registered: list[str],
    keys: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Gateway]:
    """A gateway that asks for keys, and counts nothing."""
    folder = tmp_path_factory.mktemp("guarded")
    text = "".join(
        access_files.entry(keys[name], name, f"grants: {orjson.dumps(grants).decode()}")
        for name, grants in CALLERS.items()
    )
    file = access_files.write(folder / "access.yaml", f"keys:\n{text}")
    values = {"GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS_FILE": str(file)}
    async with gateway_at(mlflow_server.url, folder / "cache", **values) as gateway:
        yield gateway


async def ask(gateway: Gateway, case: Case, **headers: str) -> tuple[str, int]:
    """Send the request, and return what became of it. The body of a prediction has a type that none has."""
    media_type = "application/json" if case.action in {"manage", "list"} else "image/png"
    async with gateway.request(
        case.method,
        case.path,
        data=orjson.dumps(case.body) if case.method == "POST" else None,
        headers={"Content-Type": media_type, **headers},
    ) as answer:
        text = await answer.text()
        if answer.status == 404 and case.method != "HEAD":
            document = orjson.loads(text)
            seen = not HIDDEN.search(document.get("message") or document["error"])
            return "goes on" if seen else "not seen", 404
        outcome = {401: "unknown", 403: "forbidden", 404: "not seen"}.get(answer.status, "goes on")
        return outcome, answer.status


async def test_the_matrix_is_large() -> None:
    """Of every caller, route, model and version."""
    assert len(cases()) * len(CALLERS) > 3000


@pytest.mark.parametrize("caller", CALLERS)
async def test_each_answer_is_what_the_grants_say(
    guarded: Gateway, keys: dict[str, str], caller: str
) -> None:
    """No request goes on without a grant, and none with one is refused."""
    wrong = []
    for case in cases():
        outcome, status = await ask(guarded, case, **{"X-API-Key": keys[caller]})
        right = expected(CALLERS[caller], case)
        if case.method == "HEAD" and status == 404:
            continue  # it has no body that says which of the two it is
        if outcome != right:
            wrong.append((case.method, case.path, case.body, f"{outcome} ({status})", f"not: {right}"))
    assert wrong == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": new_key()[0]},
        {"X-API-Key": ""},
        {"Authorization": "Bearer gwk_x"},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Basic YTpi"},
    ],
)
async def test_without_a_known_key_nothing_goes_on(guarded: Gateway, headers: dict[str, str]) -> None:
    """All but what is open to anyone is 401, whatever the model."""
    for case in cases():
        outcome, status = await ask(guarded, case, **headers)
        assert (outcome == "goes on") is (case.action == "open"), (case, status)
        if case.action != "open":
            assert status == 401


async def test_a_hash_is_no_key(guarded: Gateway, keys: dict[str, str]) -> None:
    """Who reads the file has no key by it."""
    async with guarded.get("/model", headers={"X-API-Key": digest(keys["all"]).hex()}) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("caller", ["reader", "one-model", "by-prefix", "nothing", "one-number"])
async def test_lists_have_what_may_be_read(guarded: Gateway, keys: dict[str, str], caller: str) -> None:
    """Of the gateway's own and of V2's index, on pages of any size."""
    headers, grants = {"X-API-Key": keys[caller]}, CALLERS[caller]
    everything = {
        model["name"] for model in await collect(guarded, {"X-API-Key": keys["all"]}, max_results=1000)
    }
    right = {name for name in everything if may(grants, "read", name, None)}
    for size in (1, 1000):
        if size == 1 and len(right) > 10:
            continue
        assert {model["name"] for model in await collect(guarded, headers, max_results=size)} == right
    async with guarded.post("/v2/repository/index", headers=headers) as answer:
        assert {entry["name"] for entry in await answer.json()} == right
    async with guarded.get("/api/2.0/endpoints", headers=headers) as answer:
        listed = {entry["model"]["name"] for entry in (await answer.json())["endpoints"]}
    async with guarded.get("/model?max_results=1000", headers=headers) as answer:
        answering = {
            model["name"] for model in (await answer.json())["models"] if model["latest"] is not None
        }
    assert listed == answering


async def collect(gateway: Gateway, headers: dict[str, str], *, max_results: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        params = {"max_results": str(max_results), "page_token": token}
        async with gateway.get("/model", params=params, headers=headers) as answer:
            page = await answer.json()
        found += page["models"]
        token = page.get("next_page_token", "")
        if not token:
            return found
