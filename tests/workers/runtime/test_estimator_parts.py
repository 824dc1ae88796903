"""The parts of a model, and whether they are known to handle each row independently."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import NMF, PCA
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingRegressor, StackingRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - the import enables it
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from workers.runtime.estimator_parts import first_unknown_part

X = pd.DataFrame(np.random.default_rng(1).random((30, 3)), columns=["a", "b", "c"])
Y = X["a"] - X["b"]
C = (Y > 0).astype(int)


class Centre(BaseEstimator, TransformerMixin):  # type: ignore[misc] # scikit-learn has no types
    """A custom transformer that subtracts the mean of the batch."""

    def fit(self, x: Any, y: Any = None) -> Centre:
        return self

    def transform(self, x: Any) -> Any:
        return x - x.mean(axis=0)


class Tuned(ElasticNet):  # type: ignore[misc] # as above
    """A subclass, which may do anything."""


def custom_in(module: str) -> Any:
    """Return a custom transformer that seems to come from a module of this name."""
    return type("Centre", (Centre,), {"__module__": module})()


KNOWN = [
    ElasticNet(),
    LogisticRegression(),
    SVC(),
    GradientBoostingClassifier(n_estimators=3),
    MLPClassifier((3,), max_iter=5),
    make_pipeline(StandardScaler(), PCA(2), LinearRegression()),
    make_pipeline(ColumnTransformer([("n", StandardScaler(), ["a"]), ("o", OneHotEncoder(), ["b"])]), SVC()),
    make_pipeline(FunctionTransformer(np.log1p), SimpleImputer(), LinearRegression()),
    GridSearchCV(ElasticNet(), {"alpha": [0.1, 0.2]}, cv=2),
    TransformedTargetRegressor(LinearRegression(), func=np.exp, inverse_func=np.log),
    StackingRegressor([("a", ElasticNet()), ("b", HistGradientBoostingRegressor(max_iter=3))]),
]
UNKNOWN = [
    (make_pipeline(Centre(), LinearRegression()), "Centre"),
    (make_pipeline(custom_in("code.features"), LinearRegression()), "code.features"),
    (make_pipeline(custom_in("profile"), LinearRegression()), "profile"),
    (Tuned(), "Tuned"),
    (
        make_pipeline(FunctionTransformer(functools.partial(np.multiply, 2)), LinearRegression()),
        "FunctionTransformer",
    ),
    (make_pipeline(FunctionTransformer(np.cumsum), LinearRegression()), "function"),
    (GridSearchCV(make_pipeline(Centre(), ElasticNet()), {}, cv=2), "Centre"),
    (make_pipeline(NMF(2, max_iter=2000), LinearRegression()), "NMF"),
    (make_pipeline(IterativeImputer(max_iter=1, tol=1e9), LinearRegression()), "IterativeImputer"),
    (make_pipeline(PCA(2), KNeighborsClassifier()), "KNeighborsClassifier"),
]


@pytest.mark.parametrize("model", KNOWN, ids=lambda model: str(model)[:50])
def test_library_estimators_are_known(model: Any) -> None:
    """Estimators of the libraries, alone and combined, have no unknown part when they are fitted."""
    is_classifier = hasattr(model, "predict_proba") or "SVC" in str(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a fit does not converge
        fitted = model.fit(X, C if is_classifier else Y + 2)
    assert first_unknown_part(fitted) is None


@pytest.mark.parametrize(("model", "name"), UNKNOWN, ids=lambda value: str(value)[:50])
def test_parts_that_may_look_at_other_rows_are_named(model: Any, name: str) -> None:
    """Custom parts, and those that use the whole batch, random numbers, or the last bits of a sum."""
    fitted = model.fit(X, C if "Classifier" in name else Y)
    assert name in str(first_unknown_part(fitted))


def test_callables_of_scipy_are_known() -> None:
    """An isotonic regression contains scipy's interpolation, which is callable."""
    assert first_unknown_part(IsotonicRegression().fit(X["a"], Y)) is None


def test_a_custom_tokenizer_is_unknown() -> None:
    """It may remember what it has seen."""
    assert first_unknown_part(CountVectorizer().fit(["a word", "two words"])) is None
    vectorizer = CountVectorizer(tokenizer=lambda text: text.split(), token_pattern=None)
    assert "function" in str(first_unknown_part(vectorizer.fit(["a"])))
