"""`python training.py FOLDER`: trains and registers the models of the benchmark on MLFLOW_TRACKING_URI.

Below FOLDER it leaves `rows.json`, the rows that bodies are made of, and `models/NAME`, the files of each
model for those peers that read no registry. skops is MLflow's default and loads everywhere; it asks
that the trees' type be trusted by name, which is stored with the model.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import ElasticNet

LINEAR = ("wine", "wine-b", "wine-c", "wine-d")
VERSIONS = 6  # of the first


def main() -> None:
    """Log each model, register it, and fetch its files."""
    folder = Path(sys.argv[1])
    features, target = load_wine(return_X_y=True, as_frame=True)
    mlflow.set_experiment("benchmark")
    for name in (*LINEAR, "forest"):
        estimator = RandomForestClassifier(100, random_state=0) if name == "forest" else ElasticNet(alpha=0.1)
        model = estimator.fit(features, target)
        signature = mlflow.models.infer_signature(features, model.predict(features))
        with mlflow.start_run():
            logged = mlflow.sklearn.log_model(
                model,
                name="model",
                signature=signature,
                registered_model_name=name,
                pip_requirements=["scikit-learn"],
                skops_trusted_types=["sklearn.tree._tree.Tree"],
            )
        for _ in range(1, VERSIONS if name == LINEAR[0] else 1):
            mlflow.register_model(logged.model_uri, name)
        (folder / "models" / name).mkdir(parents=True)
        mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=str(folder / "models" / name))
    mlflow.MlflowClient().set_registered_model_alias(LINEAR[0], "champion", "1")
    features.to_json(folder / "rows.json", orient="split", index=False)


if __name__ == "__main__":
    main()
