"""Predictions of every shape are valid JSON, and the values are those that the model returned."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.codec.shapes import SHAPES
from workers.codec.json.answer import to_json
from workers.errors import ModelError


def strict(text: bytes) -> Any:
    """The JSON, parsed by the letter: NaN and Infinity are none."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape(name: str) -> None:
    """What a strict parser reads is what the model returned, in MLflow's shapes."""
    answer, wanted = SHAPES[name]
    assert strict(to_json(answer)) == wanted


def test_an_array_and_its_list_are_the_same_text() -> None:
    """Every double keeps its bits; float32 is written as the double that it is, as MLflow does."""
    doubles = np.random.default_rng(7).standard_normal(2000) * 10.0 ** np.arange(-100, 100).repeat(10)
    assert strict(to_json(doubles)) == doubles.tolist()
    floats = doubles[np.abs(doubles) < 1e38].astype(np.float32)
    assert strict(to_json(floats)) == floats.tolist()


def test_a_set_without_order() -> None:
    """Its items come in some order."""
    assert sorted(strict(to_json({1, "a"})), key=str) == [1, "a"]


class Odd:
    pass


@pytest.mark.parametrize("answer", [Odd(), [Odd()], {"a": [Odd()]}, pd.Series([Odd()]), [2**70, Odd()], len])
def test_no_json_form(answer: Any) -> None:
    """The type is named; it is the model that failed."""
    with pytest.raises(ModelError) as caught:
        to_json(answer)
    assert caught.value.exception in {"Odd", "builtin_function_or_method"}
    assert caught.value.exception in str(caught.value)


def test_an_answer_that_holds_itself() -> None:
    """It is the model that failed."""
    loop: list[Any] = []
    loop.append(loop)
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    for answer in (loop, deep):
        with pytest.raises(ModelError, match="too deeply"):
            to_json(answer)
