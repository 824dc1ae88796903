"""Proves that requests during a backoff get the error of the failed download, whatever its class."""

from __future__ import annotations

import gc
import weakref

import pytest

from gateway.artifacts.fetch_backoff import FetchBackoff
from gateway.errors import CacheFull, GatewayError, UpstreamUnavailable
from gateway.mlflow_client import RequestRejected
from workers.protocol.messages import ModelKey

KEY = ModelKey("wine", "1", "f")


def raised_again(error: GatewayError) -> GatewayError:
    """Return the error that is raised during the backoff after `error`."""
    backoff: FetchBackoff[ModelKey] = FetchBackoff(60)
    backoff.record(KEY, error)
    with pytest.raises(type(error)) as caught:
        backoff.raise_if_active(KEY)
    return caught.value


@pytest.mark.parametrize("error", [CacheFull("full"), UpstreamUnavailable("away")])
def test_an_equal_error_is_raised(error: GatewayError) -> None:
    """It is another object with the same message."""
    again = raised_again(error)
    assert again is not error
    assert str(again) == str(error)


def test_attributes_of_the_error_are_kept() -> None:
    """For example MLflow's error code, which the constructor of its class requires."""
    again = raised_again(RequestRejected("refused", code="PERMISSION_DENIED"))
    assert isinstance(again, RequestRejected)
    assert (str(again), again.code) == ("refused", "PERMISSION_DENIED")


def test_no_frame_of_the_failure_is_kept() -> None:
    """The record holds neither the traceback nor the objects in its frames."""

    class Local:
        pass

    backoff: FetchBackoff[ModelKey] = FetchBackoff(60)

    def fail() -> weakref.ref[Local]:
        local = Local()
        try:
            raise CacheFull("full") from ValueError()
        except CacheFull as error:
            backoff.record(KEY, error)
        return weakref.ref(local)

    local = fail()
    gc.collect()
    assert local() is None
