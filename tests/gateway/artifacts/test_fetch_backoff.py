"""Proves that whoever asks while a fetch rests gets the error that it failed with, of whatever class."""

from __future__ import annotations

import gc
import weakref

import pytest

from gateway.artifacts.fetch_backoff import FetchBackoff
from gateway.errors import CacheFull, GatewayError, UpstreamUnavailable
from gateway.mlflow_client import RequestRejected
from workers.protocol.messages import ModelKey

KEY = ModelKey("wine", "1", "f")


def rested(error: GatewayError) -> GatewayError:
    """What is raised in the rest after `error`."""
    rests = FetchBackoff(60)
    rests.record(KEY, error)
    with pytest.raises(type(error)) as again:
        rests.raise_if_active(KEY)
    return again.value


@pytest.mark.parametrize("error", [CacheFull("full"), UpstreamUnavailable("away")])
def test_the_same_is_raised(error: GatewayError) -> None:
    """Another object with the same words."""
    again = rested(error)
    assert again is not error
    assert str(again) == str(error)


def test_what_its_class_adds_is_kept() -> None:
    """MLflow's own code, which its class cannot be made without."""
    again = rested(RequestRejected("refused", code="PERMISSION_DENIED"))
    assert isinstance(again, RequestRejected)
    assert (str(again), again.code) == ("refused", "PERMISSION_DENIED")


def test_nothing_of_the_failure_is_held() -> None:
    """Neither its frames nor what they hold."""

    class Held:
        pass

    rests = FetchBackoff(60)

    def fail() -> weakref.ref[Held]:
        held = Held()
        try:
            raise CacheFull("full") from ValueError()
        except CacheFull as error:
            rests.record(KEY, error)
        return weakref.ref(held)

    held = fail()
    gc.collect()
    assert held() is None
