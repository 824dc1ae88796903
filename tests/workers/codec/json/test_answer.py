"""Predictions of every type become valid JSON with the values that the model returned."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.codec.predictions import PREDICTIONS
from workers.codec.json.answer import to_json
from workers.errors import ModelError


def parse_strictly(text: bytes) -> Any:
    """Parse JSON without Python's extensions NaN and Infinity."""

    def reject(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=reject)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_every_type_of_prediction(name: str) -> None:
    """A strict parser reads what the model returned, in MLflow's shapes."""
    predictions, expected = PREDICTIONS[name]
    assert parse_strictly(to_json(predictions)) == expected


def test_an_array_and_its_list_are_the_same_text() -> None:
    """Every double keeps its bits; float32 is written as the equal double, as MLflow does."""
    doubles = np.random.default_rng(7).standard_normal(2000) * 10.0 ** np.arange(-100, 100).repeat(10)
    assert parse_strictly(to_json(doubles)) == doubles.tolist()
    floats = doubles[np.abs(doubles) < 1e38].astype(np.float32)
    assert parse_strictly(to_json(floats)) == floats.tolist()


def test_a_set_without_order() -> None:
    """A set whose items cannot be sorted is written in any order."""
    assert sorted(parse_strictly(to_json({1, "a"})), key=str) == [1, "a"]


class Unserializable:
    pass


@pytest.mark.parametrize(
    "predictions",
    [
        Unserializable(),
        [Unserializable()],
        {"a": [Unserializable()]},
        pd.Series([Unserializable()]),
        [2**70, Unserializable()],
        len,
    ],
)
def test_no_json_form(predictions: Any) -> None:
    """The error is the model's and names the type."""
    with pytest.raises(ModelError) as caught:
        to_json(predictions)
    assert caught.value.exception in {"Unserializable", "builtin_function_or_method"}
    assert caught.value.exception in str(caught.value)


def test_predictions_that_contain_themselves() -> None:
    """The error is the model's, for these and for very deep lists."""
    loop: list[Any] = []
    loop.append(loop)
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    for predictions in (loop, deep):
        with pytest.raises(ModelError, match="too deeply"):
            to_json(predictions)
