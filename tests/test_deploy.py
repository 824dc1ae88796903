"""The files of `deploy/` hold against published schemas, and are closed as the documentation says."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import (  # type: ignore[import-untyped]  # of openapi-spec-validator
    Draft202012Validator,
    ValidationError,
)

from gateway import settings

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = Path(__file__).parent / "support/schemas"
DEFINITIONS = {
    name: schema
    for file in sorted(SCHEMAS.glob("*.json"))
    for name, schema in json.loads(file.read_text()).items()
}
FILES = sorted([*ROOT.glob("deploy/kub*/*.yaml"), *ROOT.glob("deploy/kub*/*.yaml.example")])
GROUPS = {"ray.io/v1": "ray.v1", "v1": "io.k8s.api.core.v1"}


class StrictLoader(yaml.SafeLoader):
    """A loader that refuses a key that is there twice; YAML's own takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping, or raise ValueError."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(set(keys)) < len(keys):
            raise ValueError(f"{node.start_mark}: a key is there twice")
        return super().construct_mapping(node, deep)


def documents(file: Path) -> list[dict[str, Any]]:
    """Return the documents of one file."""
    return list(yaml.load_all(file.read_text(), StrictLoader))


def definition(document: dict[str, Any]) -> str:
    """Return the name of the schema of a document."""
    version = document["apiVersion"]
    if version not in GROUPS:
        group, _, number = version.partition("/")
        return f"io.k8s.api.{group.partition('.')[0]}.{number}.{document['kind']}"
    return f"{GROUPS[version]}.{document['kind']}"


def validate(document: dict[str, Any]) -> None:
    """Raise ValidationError for a field that is unknown, missing or of another type."""
    validator(definition(document)).validate(document)


@cache
def validator(name: str) -> Any:
    """Return what validates documents of one kind."""
    return Draft202012Validator({"$ref": f"#/definitions/{name}", "definitions": DEFINITIONS})


ALL = [(file, document) for file in FILES for document in documents(file)]
NAMES = [f"{file.parent.name}-{document['kind']}-{document['metadata']['name']}" for file, document in ALL]


def pods(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the specifications of all pods that a document makes."""
    spec = document.get("spec", {})
    groups = [spec, spec.get("headGroupSpec", {}), *spec.get("workerGroupSpecs", [])]
    return [group["template"]["spec"] for group in groups if "template" in group]


PODS = [pod for _, document in ALL for pod in pods(document)]
CONTAINERS = [container for pod in PODS for container in pod["containers"]]


def environment(container: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of a container that have a value here."""
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def of_kind(kind: str, folder: str = "kubernetes") -> dict[str, dict[str, Any]]:
    """Return the documents of one kind, by name."""
    return {
        document["metadata"]["name"]: document
        for file, document in ALL
        if document["kind"] == kind and file.parent.name == folder
    }


@pytest.mark.parametrize(("file", "document"), ALL, ids=NAMES)
def test_every_document_is_valid(file: Path, document: dict[str, Any]) -> None:
    """Each field is one of Kubernetes 1.36 or KubeRay, and has its type; no namespace is chosen."""
    validate(document)
    assert "namespace" not in document["metadata"], file


def places(value: Any) -> list[dict[str, Any]]:
    """Return every mapping in a document whose keys are fields, and not names that the operator chose."""
    if isinstance(value, list):
        return [place for one in value for place in places(one)]
    if not isinstance(value, dict):
        return []
    free = {"labels", "matchLabels", "requests", "limits", "selector", "rayStartParams", "stringData"}
    inner = [place for name, one in value.items() if name not in free for place in places(one)]
    return [value, *inner]


@pytest.mark.parametrize(("file", "document"), ALL, ids=NAMES)
def test_a_misspelt_field_is_found_everywhere(file: Path, document: dict[str, Any]) -> None:
    """The schemas close every object: one more letter is found wherever it is."""
    broken, kind = copy.deepcopy(document), validator(definition(document))
    found = places(broken)
    fields = [(number, name) for number, place in enumerate(found) for name in list(place)]
    fields = [(number, name) for number, name in fields if number or name not in {"apiVersion", "kind"}]
    assert len(fields) > 3, file
    for number, name in fields:
        place = found[number]
        place[f"{name}x"] = place.pop(name)
        assert not kind.is_valid(broken), name
        place[name] = place.pop(f"{name}x")


def test_a_quantity_and_a_value_of_another_type_are_found() -> None:
    """`16GB` is no quantity, and a number is no text."""
    nodes = of_kind("StatefulSet")["gateway-node"]
    wrong = copy.deepcopy(nodes)
    wrong["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] = "16GB"
    with pytest.raises(ValidationError, match="16GB"):
        validate(wrong)
    wrong = copy.deepcopy(nodes)
    wrong["spec"]["template"]["spec"]["containers"][0]["env"][1]["value"] = 8090
    with pytest.raises(ValidationError, match="8090"):
        validate(wrong)


def test_a_key_that_is_there_twice_is_found() -> None:
    """Kubernetes would take the last one without a word."""
    with pytest.raises(ValueError, match="twice"):
        yaml.load("{a: 1, a: 2}", StrictLoader)  # noqa: S506 - a safe loader


def test_every_container_is_closed() -> None:
    """No pod runs as root, writes to its root file system, gains privileges or reaches the cluster's API."""
    assert len(PODS) == 5
    for pod in PODS:
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "hostUsers"}
        assert all("hostPath" not in volume for volume in pod["volumes"])
    for container in CONTAINERS:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert {"readinessProbe", "livenessProbe"} <= container.keys()
        assert container["resources"]["requests"]["cpu"]
        assert not container["image"].endswith(":latest")


def test_every_mount_has_its_volume() -> None:
    """Each mounted name is a volume of the pod, or a claim of the set."""
    for _, document in ALL:
        claims = {
            claim["metadata"]["name"] for claim in document.get("spec", {}).get("volumeClaimTemplates", [])
        }
        for pod in pods(document):
            volumes = {volume["name"] for volume in pod["volumes"]} | claims
            mounted = {mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]}
            assert mounted == volumes


def test_no_secret_has_a_value() -> None:
    """A token given here would be the same everywhere; gateways and nodes take it from the Secret."""
    (file,) = [file for file, document in ALL if document["kind"] == "Secret"]
    assert file.suffix == ".example"  # which `kubectl apply -f FOLDER` does not read
    assert all(document["stringData"] == {"token": ""} for document in documents(file))
    for container in CONTAINERS:
        for entry in container["env"]:
            if "TOKEN" in entry["name"]:
                assert entry.keys() == {"name", "valueFrom"}
    secrets = {
        entry["valueFrom"]["secretKeyRef"]["name"]
        for container in CONTAINERS
        for entry in container["env"]
        if entry["name"] == "GATEWAY_FLEET_TOKEN"
    }
    assert secrets == {"gateway-fleet"}


def test_gateways_find_the_nodes() -> None:
    """The name and the port that gateways look up are the headless Service, which is the set's own."""
    (gateway,) = of_kind("Deployment")["gateway"]["spec"]["template"]["spec"]["containers"]
    nodes, service = of_kind("StatefulSet")["gateway-node"]["spec"], of_kind("Service")["gateway-nodes"]
    (node,) = nodes["template"]["spec"]["containers"]
    name = service["metadata"]["name"]
    port = environment(node)["GATEWAY_NODE_PORT"]
    assert service["spec"]["clusterIP"] == "None"
    assert "publishNotReadyAddresses" not in service["spec"]
    assert nodes["serviceName"] == name
    assert environment(gateway)["GATEWAY_FLEET_NODES"] == f"dns://{name}:{port}"
    assert {entry["name"]: str(entry["containerPort"]) for entry in node["ports"]} == {
        "link": port,
        "metrics": environment(node)["GATEWAY_NODE_METRICS_PORT"],
    }


def test_services_budgets_and_policies_select_the_pods() -> None:
    """A selector that matches nothing is valid, and does nothing."""
    made = {**of_kind("Deployment"), **of_kind("StatefulSet")}
    labels = {name: one["spec"]["template"]["metadata"]["labels"] for name, one in made.items()}
    for name, one in made.items():
        assert one["spec"]["selector"] == {"matchLabels": labels[name]}
        assert of_kind("PodDisruptionBudget")[name]["spec"]["selector"] == {"matchLabels": labels[name]}
        assert of_kind("NetworkPolicy")[name]["spec"]["podSelector"] == {"matchLabels": labels[name]}
        scaled = of_kind("HorizontalPodAutoscaler")[name]["spec"]["scaleTargetRef"]
        assert scaled == {"apiVersion": one["apiVersion"], "kind": one["kind"], "name": name}
        assert "replicas" not in one["spec"]
    assert of_kind("Service")["gateway"]["spec"]["selector"] == labels["gateway"]
    assert of_kind("Service")["gateway-nodes"]["spec"]["selector"] == labels["gateway-node"]


def test_only_gateways_reach_nodes() -> None:
    """And nodes reach MLflow, names and a store; nothing is open to all."""
    policies = of_kind("NetworkPolicy")
    ingress = policies["gateway-node"]["spec"]["ingress"]
    (link,) = [rule for rule in ingress if {"port": 8090, "protocol": "TCP"} in rule["ports"]]
    assert link["from"] == [{"podSelector": {"matchLabels": {"app": "gateway"}}}]
    egress = policies["gateway-node"]["spec"]["egress"]
    assert [rule["ports"][0]["port"] for rule in egress] == [5000, 53, 443]
    assert [rule["ports"][0]["port"] for rule in policies["gateway"]["spec"]["egress"]] == [8090, 5000, 53]
    for policy in [*policies.values(), *of_kind("NetworkPolicy", "kuberay").values()]:
        spec = policy["spec"]
        assert all(rule["from"] for rule in spec.get("ingress", []))
        assert all(rule["to"] for rule in spec.get("egress", []))


def test_every_process_of_ray_outlives_the_head() -> None:
    """With the default timeout they end 60 s after the head; without Redis, when the next head starts."""
    (cluster,) = of_kind("RayCluster", "kuberay").values()
    containers = [container for pod in pods(cluster) for container in pod["containers"]]
    assert len(containers) == 4
    for container in containers:
        assert environment(container)["RAY_gcs_rpc_server_reconnect_timeout_s"] == "86400"
        assert environment(container)["RAY_USAGE_STATS_ENABLED"] == "0"
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    assert cluster["spec"]["gcsFaultToleranceOptions"]["redisAddress"] == "redis:6379"
    assert cluster["spec"]["headGroupSpec"]["rayStartParams"]["include-dashboard"] == "false"


def test_ray_leaves_the_ports_of_the_gateway_and_of_the_node() -> None:
    """All containers of a pod share its ports; KubeRay takes 8080 for Ray's metrics, if no other is named."""
    (cluster,) = of_kind("RayCluster", "kuberay").values()
    groups = {group["groupName"]: group for group in cluster["spec"]["workerGroupSpecs"]}
    gateway = environment(groups["gateways"]["template"]["spec"]["containers"][1])
    metrics = {
        name: group["rayStartParams"].get("metrics-export-port", "8080") for name, group in groups.items()
    }
    assert metrics["gateways"] != gateway["GATEWAY_PORT"]
    assert metrics["nodes"] != gateway["GATEWAY_RAY_NODE_PORT"]


def test_a_keeper_sees_the_ray_node_beside_it() -> None:
    """A driver finds its node by the processes, the sockets and the shared memory of its machine."""
    (cluster,) = of_kind("RayCluster", "kuberay").values()
    groups = {group["groupName"]: group["template"]["spec"] for group in cluster["spec"]["workerGroupSpecs"]}
    ray, gateway = groups["gateways"]["containers"]
    assert groups["gateways"]["shareProcessNamespace"] is True
    shared = [mount for mount in gateway["volumeMounts"] if mount in ray["volumeMounts"]]
    assert {mount["mountPath"] for mount in shared} == {"/tmp", "/dev/shm"}  # noqa: S108 - of the pod
    assert "shareProcessNamespace" not in groups["nodes"]  # where models run


def test_agents_run_where_the_gateways_look() -> None:
    """The label that the keepers ask for is that of exactly one group of workers."""
    (cluster,) = of_kind("RayCluster", "kuberay").values()
    groups = {group["groupName"]: group for group in cluster["spec"]["workerGroupSpecs"]}
    gateway = groups["gateways"]["template"]["spec"]["containers"][1]
    name, _, value = environment(gateway)["GATEWAY_RAY_LABEL"].partition("=")
    assert [key for key, group in groups.items() if group.get("labels", {}).get(name) == value] == ["nodes"]
    secrets = [entry for entry in gateway["env"] if entry["name"] == "RAY_AUTH_TOKEN"]
    assert secrets[0]["valueFrom"]["secretKeyRef"]["name"] == cluster["metadata"]["name"]


def test_every_setting_is_known() -> None:
    """The gateway refuses to start on a name that it does not know."""
    documented = set(re.findall(r"`(GATEWAY_[A-Z_]+)", (ROOT / "docs/fleet.md").read_text()))
    known = {*settings.env_names(), *documented, "MLFLOW_TRACKING_URI"}
    named = {name for container in CONTAINERS for name in environment(container)}
    assert {name for name in named if not name.startswith("RAY_")} <= known
