"""Proves what a client for callers sends, and how it takes refusals."""

from __future__ import annotations

import pytest

from gateway.errors import BadUpstreamResponse, UpstreamTimeout, UpstreamUnavailable
from gateway.mlflow_client import CallerClient, MlflowClient, NotAuthenticated, NotPermitted, Redirected
from gateway.settings import load
from tests.support.faulty_proxy import answer, faulty_proxy, scripted

SETTINGS = {
    "MLFLOW_TRACKING_USERNAME": "gateway",
    "MLFLOW_TRACKING_PASSWORD": "own-password",
    "MLFLOW_WORKSPACE": "team-a",
}


def callers(url: str) -> CallerClient:
    return CallerClient(load({"MLFLOW_TRACKING_URI": url, **SETTINGS}).mlflow)


async def test_calls_have_the_callers_authorization_and_the_workspace() -> None:
    """Nothing of the gateway's own account, not even for a call without a caller."""
    async with scripted(answer(200, b"{}")) as server, callers(server.url) as client:
        await client.authorized("Bearer a").search_registered_models(max_results=1)
        await client.authorized("Bearer b").search_experiments(max_results=1)
        await client.search_registered_models(max_results=1)
    sent = [head.lower() for head in server.requests]
    assert [b"authorization: bearer a" in head for head in sent] == [True, False, False]
    assert [b"authorization: bearer b" in head for head in sent] == [False, True, False]
    assert b"authorization" not in sent[2]
    assert all(b"x-mlflow-workspace: team-a" in head for head in sent)


@pytest.mark.parametrize(
    ("status", "body", "media_type", "error"),
    [
        (401, b"You are not authenticated.", "text/html", NotAuthenticated),
        (401, b'{"error_code": "UNAUTHENTICATED"}', "application/json", NotAuthenticated),
        (403, b"Permission denied", "text/html", NotPermitted),
        (403, b"Forbidden", "text/plain", NotPermitted),
        (403, b"<html>Forbidden by a proxy</html>", "text/html", NotPermitted),
        (302, b"", "text/html", Redirected),
    ],
)
async def test_refusals_are_told_from_outages(
    status: int, body: bytes, media_type: str, error: type[Exception]
) -> None:
    """In MLflow's form and in those of proxies; a refusal is asked for once."""
    reply = answer(status, body, media_type=media_type)
    async with scripted(reply) as server, callers(server.url) as client:
        with pytest.raises(error):
            await client.authorized("Bearer a").current_user()
        assert len(server.requests) == 1


async def test_a_wrong_host_is_no_refusal_of_the_caller() -> None:
    """MLflow's check of the host concerns the gateway's settings."""
    reply = answer(403, b"Invalid Host header", media_type="text/plain")
    async with scripted(reply) as server, callers(server.url) as client:
        with pytest.raises(BadUpstreamResponse, match="MLFLOW_SERVER_ALLOWED_HOSTS") as caught:
            await client.authorized("Bearer a").current_user()
        assert not isinstance(caught.value, NotPermitted)


async def test_refusals_and_timeouts_of_callers_do_not_stop_the_gateways_own_calls() -> None:
    """Each client has a circuit breaker of its own; a refusal is an answer, and opens none."""
    no = answer(401, b"no", media_type="text/html")
    async with scripted(no) as server, callers(server.url) as client:
        for _ in range(20):
            with pytest.raises(NotAuthenticated):
                await client.authorized("Bearer a").current_user()
        assert len(server.requests) == 20
    async with scripted(answer(200, b"{}")) as upstream, faulty_proxy(upstream.url) as proxy:
        settings = load(
            {"MLFLOW_TRACKING_URI": proxy.url, "MLFLOW_HTTP_REQUEST_TIMEOUT": "0.2", **SETTINGS}
        ).mlflow
        async with CallerClient(settings) as client, MlflowClient(settings) as own:
            proxy.fault = "slow"
            with pytest.raises(UpstreamTimeout):
                await client.authorized("Bearer a").search_registered_models(max_results=1)
            proxy.fault = ""
            with pytest.raises(UpstreamUnavailable):
                await client.authorized("Bearer b").search_registered_models(max_results=1)
            await own.search_registered_models(max_results=1)
