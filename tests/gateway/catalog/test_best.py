"""The rules of `best`, by themselves."""

from __future__ import annotations

import math
import sys

import pytest

from gateway.catalog.best import WELL_KNOWN_METRICS, Preference, choose_from_versions
from gateway.domain.models import ModelVersion
from gateway.domain.refs import Best, Order
from gateway.errors import BestMetricUndecided


def versions(*metrics: dict[str, float]) -> list[ModelVersion]:
    """READY versions with these metrics; the first is version 1. Newest first, as the catalog has them."""
    made = [
        ModelVersion("m", str(number), "registry", "READY", "models:/m-1", "f", metrics=values)
        for number, values in enumerate(metrics, start=1)
    ]
    return made[::-1]


def best(wish: Best, *metrics: dict[str, float], prefer: tuple[Preference, ...] = ()) -> tuple[str, str, str]:
    choice = choose_from_versions(versions(*metrics), wish, preferences=prefer)
    return choice.version, choice.metric, choice.order


TWO: tuple[dict[str, float], ...] = ({"rmse": 1.0, "r2": 0.9, "x": 5.0}, {"rmse": 2.0, "r2": 0.5, "x": 4.0})


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Best("rmse", "min"), ("1", "rmse", "min")),
        (Best("rmse", "max"), ("2", "rmse", "max")),
        (Best("rmse"), ("1", "rmse", "min")),
        (Best("r2"), ("1", "r2", "max")),
        (Best("x", "max"), ("1", "x", "max")),
        (Best("x", "min"), ("2", "x", "min")),
        (Best(), ("1", "rmse", "min")),
        (Best(None, "max"), ("2", "rmse", "max")),
    ],
)
def test_the_asked_metric_and_order_decide(wish: Best, expected: tuple[str, str, str]) -> None:
    """Whatever metric came first, and in whatever order they are stored."""
    assert best(wish, *TWO) == expected


@pytest.mark.parametrize(
    ("prefer", "wish", "expected"),
    [
        ((Preference("x", "min"),), Best(), ("2", "x", "min")),
        ((Preference("x", "min"),), Best(None, "max"), ("1", "x", "max")),
        ((Preference("r2", ""),), Best(), ("1", "r2", "max")),
        ((Preference("", "max"),), Best(), ("2", "rmse", "max")),
        ((Preference("", "max"),), Best("rmse"), ("2", "rmse", "max")),
        ((Preference("r2", "max"),), Best("rmse"), ("1", "rmse", "min")),
        ((Preference(), Preference("x", "max")), Best(), ("1", "x", "max")),
        ((Preference("r2", "min"), Preference("x", "max")), Best(), ("2", "r2", "min")),
        ((Preference("x", ""), Preference("x", "max")), Best(), ("1", "x", "max")),
    ],
)
def test_tags_then_settings_fill_what_is_left_open(
    prefer: tuple[Preference, ...], wish: Best, expected: tuple[str, str, str]
) -> None:
    """What is asked wins; an order that was written for one metric is not used for another."""
    assert best(wish, *TWO, prefer=prefer) == expected


def test_the_models_tags_are_read() -> None:
    """By their documented names."""
    tags = {"gateway.best.metric": " rmse ", "gateway.best.order": "max", "other": "x"}
    assert Preference.from_tags(tags) == Preference("rmse", "max")


def test_the_only_metric_needs_no_name_but_an_order() -> None:
    """An unknown single metric decides once its order is told; a known one by itself."""
    assert best(Best(None, "max"), {"speed": 1.0}, {"speed": 3.0}) == ("2", "speed", "max")
    assert best(Best(), {"auc": 0.1}, {"auc": 0.9}) == ("2", "auc", "max")
    with pytest.raises(BestMetricUndecided, match="order=min or order=max"):
        best(Best(), {"speed": 1.0})


@pytest.mark.parametrize(
    ("there", "metric"),
    [
        (("mse", "rmse"), "rmse"),
        (("mae", "mse"), "mse"),
        (("loss", "log_loss"), "log_loss"),
        (("f1", "accuracy", "roc_auc"), "accuracy"),
        (("r2", "f1"), "f1"),
        (("rmse", "test_rmse", "val_rmse"), "val_rmse"),
        (("rmse", "test_rmse"), "test_rmse"),
        (("val_mse", "rmse"), "rmse"),
        (("val_accuracy", "accuracy", "train_time"), "val_accuracy"),
        (("RMSE", "mse"), "RMSE"),
    ],
)
def test_the_table_decides_between_well_known_metrics(there: tuple[str, ...], metric: str) -> None:
    """In its documented order, the val_ and test_ forms before the bare name."""
    assert best(Best(), dict.fromkeys(there, 1.0))[1] == metric


@pytest.mark.parametrize("form", ["", "val_", "test_", "validation_", "eval_", "train_", "training_"])
def test_every_form_of_a_well_known_name_has_its_order(form: str) -> None:
    """So `?metric=training_r2_score` needs no order."""
    for name, order in WELL_KNOWN_METRICS.items():
        assert best(Best(form + name), {form + name: 1.0})[2] == order


@pytest.mark.parametrize(
    "worthless", [math.nan, math.inf, -math.inf, sys.float_info.max, -sys.float_info.max]
)
@pytest.mark.parametrize("order", ["min", "max"])
def test_what_is_no_number_never_wins(worthless: float, order: Order) -> None:
    """NaN, infinity, and the largest double as which MLflow stores infinity."""
    assert best(Best("x", order), {"x": worthless}, {"x": 7.0}, {}, {"x": worthless}) == ("2", "x", order)


@pytest.mark.parametrize("order", ["min", "max"])
def test_ties_go_to_the_newer(order: Order) -> None:
    """Version 10 is newer than version 9."""
    assert best(Best("x", order), *[{"x": 1.0}] * 10)[0] == "10"


@pytest.mark.parametrize(
    ("wish", "metrics", "text"),
    [
        (Best("y"), [{"x": 1.0, "z": math.nan}], r"'y'\. There are: x\."),
        (Best("z"), [{"x": 1.0, "z": math.nan}], r"finite value of the metric 'z'\. There are: x\."),
        (Best(), [{"x": 1.0, "y": 2.0}], r"\?metric=.*There are: x, y\."),
        (Best(), [{}], "No READY version has any metric"),
        (Best("x"), [{}], "No READY version has any metric"),
        (Best("x"), [{"x": 1.0}], "order=min or order=max"),
        (Best("y"), [{f"m{n:03}": 1.0 for n in range(60)}], "m049 and 10 more"),
    ],
)
def test_what_cannot_be_decided_names_what_there_is(
    wish: Best, metrics: list[dict[str, float]], text: str
) -> None:
    """The message lets the caller ask again, rightly."""
    with pytest.raises(BestMetricUndecided, match=text):
        best(wish, *metrics)


def test_a_wrong_order_in_a_tag_is_told() -> None:
    """It is not taken for one of the two; an order that is asked for makes it meaningless."""
    prefer = (Preference("rmse", "upwards"),)
    with pytest.raises(BestMetricUndecided, match=r"gateway\.best\.order must be min or max"):
        best(Best(), *TWO, prefer=prefer)
    assert best(Best(None, "min"), *TWO, prefer=prefer)[0] == "1"
