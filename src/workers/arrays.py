"""Whether a scikit-learn model may be given the array of a frame in place of the frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.pyfunc import FLAVOR_NAME, MAIN

from workers import parts

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

    from workers.codec.plan import Plan

_FLAVOR = "mlflow.sklearn"


def fit(model: PyFuncModel, plan: Plan) -> bool:
    """Whether nothing in the model looks at more of a frame than its array.

    scikit-learn looks at a frame's names, which are right by the signature, and at each column's dtype,
    which is that of all; then it takes the array. For one row that is four fifths of its time. So it
    is with its own estimators and pipelines of them; whatever chooses columns by name, hands on
    frames, or is somebody's own is given frames.
    """
    columns = plan.columns or ()
    if model.metadata.flavors[FLAVOR_NAME].get(MAIN) != _FLAVOR or not plan.numeric:
        return False
    if len({column.type for column in columns}) != 1 or not all(column.required for column in columns):
        return False
    estimator = model.get_raw_model()
    names = getattr(estimator, "feature_names_in_", None)
    return names is not None and list(names) == list(plan.index) and parts.takes_arrays(estimator)
