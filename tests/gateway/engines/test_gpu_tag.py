"""Proves which values of the tag gateway.gpu are shares of a GPU."""

from __future__ import annotations

import pytest

from gateway.engines.gpu_tag import gpu_share
from workers.errors import ModelLoadError


@pytest.mark.parametrize(
    ("value", "share"),
    [("1", 1000), ("1.0", 1000), ("0.5", 500), (" .25 ", 250), ("0.333", 333), ("0.001", 1), ("0", 0)],
)
def test_a_share_is_read_in_thousandths(value: str, share: int) -> None:
    """One GPU and parts of one are shares; 0 is none."""
    assert gpu_share({"gateway.gpu": value, "other": "2"}) == share


def test_without_the_tag_a_model_wants_none() -> None:
    """Nothing is guessed from a model's flavors or requirements."""
    assert gpu_share({"gpu": "1"}) == 0


@pytest.mark.parametrize(
    "value", ["2", "1.5", "-1", "yes", "", "nan", "1e-1", "0.0001", "\u0660.\u0665", "9" * 400]
)
def test_any_other_value_is_refused(value: str) -> None:
    """A model with a tag that means nothing is not served without the GPU that it may need."""
    with pytest.raises(ModelLoadError, match=r"gateway\.gpu must be a share of one GPU"):
        gpu_share({"gateway.gpu": value})
