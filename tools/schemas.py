"""Write the JSON schemas that `tests/test_deploy.py` holds `deploy/` against, from published descriptions.

`python tools/schemas.py SWAGGER CRD`: Kubernetes' `api/openapi-spec/swagger.json`, and KubeRay's
`ray.io_rayclusters.yaml`. Only names, types and which fields are required are kept, of the kinds used here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent.parent / "tests/support/schemas"
API = "io.k8s.api."
MACHINERY = "io.k8s.apimachinery.pkg."
KINDS = (
    "apps.v1.Deployment",
    "apps.v1.StatefulSet",
    "autoscaling.v2.HorizontalPodAutoscaler",
    "core.v1.ConfigMap",
    "core.v1.Secret",
    "core.v1.Service",
    "networking.v1.NetworkPolicy",
    "policy.v1.PodDisruptionBudget",
)
POD_TEMPLATE = {"$ref": f"#/definitions/{API}core.v1.PodTemplateSpec"}
KEPT = {"type", "enum", "required", "$ref"}
WRITTEN_BY_THE_CLUSTER = {"status", "managedFields"}
NUMBER_OR_TEXT = {"type": ["number", "string"]}
QUANTITY = {**NUMBER_OR_TEXT, "pattern": r"^[+-]?[0-9.]+(m|[kMGTPE]i?|[eE][+-]?[0-9]+)?$"}
# Volumes that pods of the level `restricted` may have; the others' descriptions are as long as all the rest.
VOLUMES = {
    "name",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def main(swagger: str, crd: str) -> None:
    """Write both files."""
    published = json.loads(Path(swagger).read_text(encoding="utf-8"))["definitions"]
    published[f"{API}core.v1.Volume"]["properties"] = {
        name: what
        for name, what in published[f"{API}core.v1.Volume"]["properties"].items()
        if name in VOLUMES
    }
    definitions: dict[str, Any] = {f"{MACHINERY}api.resource.Quantity": QUANTITY}
    waiting = [API + kind for kind in KINDS]
    while waiting:
        if (name := waiting.pop()) not in definitions:
            definitions[name] = stripped(published[name])
            waiting += references(definitions[name])
    write("kubernetes.json", definitions)
    versions = yaml.safe_load(Path(crd).read_text(encoding="utf-8"))["spec"]["versions"]
    cluster = next(version for version in versions if version["name"] == "v1")["schema"]["openAPIV3Schema"]
    cluster["properties"]["metadata"] = {"$ref": f"#/definitions/{MACHINERY}apis.meta.v1.ObjectMeta"}
    write("kuberay.json", {"ray.v1.RayCluster": stripped(cluster)})


def stripped(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what a document can break, with every object closed to unknown fields."""
    if schema.get("format") == "int-or-string" or "x-kubernetes-int-or-string" in schema:
        return NUMBER_OR_TEXT
    kept = {word: value for word, value in schema.items() if word in KEPT}
    if isinstance(items := schema.get("items"), dict):
        kept["items"] = stripped(items)
    if isinstance(more := schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = stripped(more)
    if properties := schema.get("properties"):
        kept["properties"] = {
            name: POD_TEMPLATE
            if name == "template" and "spec" in what.get("properties", {})
            else stripped(what)
            for name, what in properties.items()
            if name not in WRITTEN_BY_THE_CLUSTER
        }
        kept["additionalProperties"] = False
    return kept


def references(schema: Any) -> list[str]:
    """Return the names of the definitions that a schema refers to."""
    if isinstance(schema, list):
        return [name for one in schema for name in references(one)]
    if not isinstance(schema, dict):
        return []
    if isinstance(target := schema.get("$ref"), str):
        return [target.rpartition("/")[2]]
    return [name for one in schema.values() for name in references(one)]


def write(name: str, definitions: dict[str, Any]) -> None:
    """Write one definition a line, so that a later version shows what it changed."""
    lines = [
        f" {json.dumps(key)}: {json.dumps(definitions[key], sort_keys=True)}" for key in sorted(definitions)
    ]
    (FOLDER / name).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
