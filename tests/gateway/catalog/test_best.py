"""Proves the rules by which `best` selects a version."""

from __future__ import annotations

import math
import sys

import pytest

from gateway.catalog.best import WELL_KNOWN_METRICS, Preference, choose_from_versions
from gateway.domain.models import ModelVersion
from gateway.domain.refs import Best, Order
from gateway.errors import BestMetricUndecided


def versions(*metrics: dict[str, float]) -> list[ModelVersion]:
    """Return READY versions with these metrics, newest first; the first argument is version 1."""
    oldest_first = [
        ModelVersion("m", str(number), "registry", "READY", "models:/m-1", "f", metrics=values)
        for number, values in enumerate(metrics, start=1)
    ]
    return oldest_first[::-1]


def best(
    selector: Best, *metrics: dict[str, float], preferences: tuple[Preference, ...] = ()
) -> tuple[str, str, str]:
    """Return the version, metric and order that are chosen."""
    choice = choose_from_versions(versions(*metrics), selector, preferences=preferences)
    return choice.version, choice.metric, choice.order


TWO: tuple[dict[str, float], ...] = ({"rmse": 1.0, "r2": 0.9, "x": 5.0}, {"rmse": 2.0, "r2": 0.5, "x": 4.0})


@pytest.mark.parametrize(
    ("selector", "expected"),
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
def test_the_requested_metric_and_order_decide(selector: Best, expected: tuple[str, str, str]) -> None:
    """Neither the first metric nor the order in which metrics are stored matters."""
    assert best(selector, *TWO) == expected


@pytest.mark.parametrize(
    ("preferences", "selector", "expected"),
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
def test_tags_then_settings_decide_if_the_request_does_not(
    preferences: tuple[Preference, ...], selector: Best, expected: tuple[str, str, str]
) -> None:
    """The request takes precedence; an order that was set for one metric is not used for another."""
    assert best(selector, *TWO, preferences=preferences) == expected


def test_a_models_tags_are_read() -> None:
    """A preference comes from the tags with the documented names."""
    tags = {"gateway.best.metric": " rmse ", "gateway.best.order": "max", "other": "x"}
    assert Preference.from_tags(tags) == Preference("rmse", "max")


def test_the_only_metric_needs_no_name_but_an_order() -> None:
    """A single unknown metric decides if the request has an order; a well-known one needs none."""
    assert best(Best(None, "max"), {"speed": 1.0}, {"speed": 3.0}) == ("2", "speed", "max")
    assert best(Best(), {"auc": 0.1}, {"auc": 0.9}) == ("2", "auc", "max")
    with pytest.raises(BestMetricUndecided, match="order=min or order=max"):
        best(Best(), {"speed": 1.0})


@pytest.mark.parametrize(
    ("available", "metric"),
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
def test_the_table_decides_between_well_known_metrics(available: tuple[str, ...], metric: str) -> None:
    """In its documented order, names with val_ and test_ before the name without prefix."""
    assert best(Best(), dict.fromkeys(available, 1.0))[1] == metric


@pytest.mark.parametrize("prefix", ["", "val_", "test_", "validation_", "eval_", "train_", "training_"])
def test_a_well_known_name_with_a_prefix_has_its_order(prefix: str) -> None:
    """So `?metric=training_r2_score` needs no order."""
    for name, order in WELL_KNOWN_METRICS.items():
        assert best(Best(prefix + name), {prefix + name: 1.0})[2] == order


@pytest.mark.parametrize(
    "worthless", [math.nan, math.inf, -math.inf, sys.float_info.max, -sys.float_info.max]
)
@pytest.mark.parametrize("order", ["min", "max"])
def test_a_value_that_is_not_a_number_never_wins(worthless: float, order: Order) -> None:
    """NaN, infinity, and the largest double, as which MLflow stores infinity."""
    assert best(Best("x", order), {"x": worthless}, {"x": 7.0}, {}, {"x": worthless}) == ("2", "x", order)


@pytest.mark.parametrize("order", ["min", "max"])
def test_the_newest_of_equal_versions_wins(order: Order) -> None:
    """Version 10 is newer than version 9."""
    assert best(Best("x", order), *[{"x": 1.0}] * 10)[0] == "10"


@pytest.mark.parametrize(
    ("selector", "metrics", "text"),
    [
        (Best("y"), [{"x": 1.0, "z": math.nan}], r"'y'\. Available: x\."),
        (Best("z"), [{"x": 1.0, "z": math.nan}], r"finite value of the metric 'z'\. Available: x\."),
        (Best(), [{"x": 1.0, "y": 2.0}], r"\?metric=.*Available: x, y\."),
        (Best(), [{}], "No READY version has any metric"),
        (Best("x"), [{}], "No READY version has any metric"),
        (Best("x"), [{"x": 1.0}], "order=min or order=max"),
        (Best("y"), [{f"m{n:03}": 1.0 for n in range(60)}], "m049 and 10 more"),
    ],
)
def test_an_undecided_choice_names_the_available_metrics(
    selector: Best, metrics: list[dict[str, float]], text: str
) -> None:
    """The client can correct its request from the message."""
    with pytest.raises(BestMetricUndecided, match=text):
        best(selector, *metrics)


def test_a_wrong_order_in_a_tag_is_an_error() -> None:
    """It is not taken for either order; an order in the request takes its place."""
    preferences = (Preference("rmse", "upwards"),)
    with pytest.raises(BestMetricUndecided, match=r"gateway\.best\.order must be min or max"):
        best(Best(), *TWO, preferences=preferences)
    assert best(Best(None, "min"), *TWO, preferences=preferences)[0] == "1"
