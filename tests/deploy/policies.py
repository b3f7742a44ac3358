"""What every set of manifests must hold to, beyond being valid: one function a policy, which names what breaks it."""

import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from tests.deploy import fitting
from tests.deploy.pods import Object, Pod, matches, name, of_kind, pods, replicas, trained_labels

Findings = Iterator[str]
SERVING = ("Deployment", "StatefulSet")
JOBS = ("Job", "RayJob")  # they use claims of what is served
# `kubectl apply` remembers an object in an annotation, and annotations have a limit.
MOST_BYTES = 262_144
SECRET_NAMES = re.compile(r"KEY|TOKEN|PASSWORD|SECRET", re.IGNORECASE)
SECRET_VALUES = re.compile(r"sk-[A-Za-z0-9]{8,}|AKIA[A-Z0-9]{12,}|hf_[A-Za-z0-9]{16,}|-----BEGIN [A-Z ]*PRIVATE KEY")
# Of pods that another program makes: a Gateway's proxy, the picker of the Inference Extension.
THEIR_LABELS = {"gateway.networking.k8s.io/gateway-name", "inferencepool"}


def images_are_pinned(objects: list[Object]) -> Findings:
    for pod in pods(objects):
        for one in pod.containers:
            _, _, tag = one["image"].rpartition("/")[2].partition(":")
            if not re.search(r"\d+\.\d+", tag) and "@sha256:" not in one["image"]:
                yield f"{pod.name}: {one['image']} names no version"


def resources_are_bounded(objects: list[Object]) -> Findings:
    for pod in pods(objects):
        for one in pod.containers:
            for side in ("requests", "limits"):
                missing = {"cpu", "memory"} - one.get("resources", {}).get(side, {}).keys()
                if missing:
                    yield f"{pod.name}: container {one['name']} has no {side} of {', '.join(sorted(missing))}"
    for pod in pods(objects):
        for volume in pod.spec.get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                yield f"{pod.name}: emptyDir {volume['name']} has no sizeLimit"


def servers_are_probed(objects: list[Object]) -> Findings:
    for pod in pods(objects):
        for one in pod.spec["containers"] if pod.workload["kind"] in SERVING else []:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe not in one:
                    yield f"{pod.name}: container {one['name']} has no {probe}"


def pods_are_confined(objects: list[Object]) -> Findings:
    for pod in pods(objects):
        context = pod.spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{pod.name}: may run as root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{pod.name}: has no seccomp profile"
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.name}: gets a token of the cluster's API"
        if any("hostPath" in volume for volume in pod.spec.get("volumes", [])):
            yield f"{pod.name}: mounts its node's disk"
        yield from _containers_are_confined(pod)


def _containers_are_confined(pod: Pod) -> Findings:
    for one in pod.containers:
        context = one.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            yield f"{pod.name}: container {one['name']} may gain privileges"
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{pod.name}: container {one['name']} may write to its image"
        if context.get("capabilities", {}).get("drop") != ["ALL"] or "add" in context["capabilities"]:
            yield f"{pod.name}: container {one['name']} has capabilities"


def secrets_stay_outside(objects: list[Object]) -> Findings:
    for one in of_kind(objects, "Secret"):
        yield f"{name(one)}: secrets are made apart, never written here"
    for one in objects:
        if SECRET_VALUES.search(json.dumps(one)):
            yield f"{name(one)}: holds what looks like a key"
    for pod in pods(objects):
        for one in pod.containers:
            for variable in one.get("env", []):
                if SECRET_NAMES.search(variable["name"]) and "value" in variable:
                    yield f"{pod.name}: {variable['name']} is written in clear"


def selectors_match(objects: list[Object]) -> Findings:
    there = [pod.labels for pod in pods(objects)] + trained_labels(objects)
    for one in of_kind(objects, *SERVING):
        if not matches(one["spec"]["selector"], one["spec"]["template"]["metadata"]["labels"]):
            yield f"{name(one)}: does not select its own pods"
    for one, selector in _selectors_of_pods(objects):
        if not any(matches(selector, labels) for labels in there):
            yield f"{name(one)}: selects no pod"
    for one in of_kind(objects, "ServiceMonitor"):
        services = of_kind(objects, "Service")
        if not any(matches(one["spec"]["selector"], service["metadata"].get("labels", {})) for service in services):
            yield f"{name(one)}: selects no Service"


def _selectors_of_pods(objects: list[Object]) -> Iterator[tuple[Object, Object]]:
    for one in of_kind(objects, "Service"):
        yield one, {"matchLabels": one["spec"]["selector"]}
    for one in of_kind(objects, "PodDisruptionBudget", "InferencePool"):
        yield one, one["spec"]["selector"]
    for one in of_kind(objects, "NetworkPolicy"):
        if not THEIR_LABELS & one["spec"]["podSelector"].get("matchLabels", {}).keys():
            yield one, one["spec"]["podSelector"]
    for pod in pods(objects):
        for spread in pod.spec.get("topologySpreadConstraints", []):
            yield pod.workload, spread["labelSelector"]


def ports_exist(objects: list[Object]) -> Findings:
    for pod in pods(objects):
        for one in pod.containers:
            own = {port["name"] for port in one.get("ports", [])}
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = one.get(kind, {})
                port = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")
                if port is not None and port not in own:
                    yield f"{pod.name}: {kind} asks the port {port!r}, which {one['name']} has not"
    for one, selector, port in _ports_asked(objects):
        for pod in pods(objects):
            if matches(selector, pod.labels) and port not in pod.ports and port not in pod.ports.values():
                yield f"{name(one)}: {pod.name} has no port {port!r}"
    for one in of_kind(objects, "ServiceMonitor"):
        for service in of_kind(objects, "Service"):
            if matches(one["spec"]["selector"], service["metadata"].get("labels", {})):
                named = {port["name"] for port in service["spec"]["ports"]}
                asked = {end["port"] for end in one["spec"]["endpoints"]}
                yield from (f"{name(one)}: {name(service)} has no port {port!r}" for port in sorted(asked - named))


def _ports_asked(objects: list[Object]) -> Iterator[tuple[Object, Object, str | int]]:
    for one in of_kind(objects, "Service"):
        for port in one["spec"]["ports"]:
            yield one, {"matchLabels": one["spec"]["selector"]}, port.get("targetPort", port["port"])
    for one in of_kind(objects, "NetworkPolicy"):
        for rule in one["spec"].get("ingress", []):
            for port in rule.get("ports", []):
                yield one, one["spec"]["podSelector"], port["port"]
    for one in of_kind(objects, "InferencePool"):
        for port in one["spec"]["targetPorts"]:
            yield one, one["spec"]["selector"], port["number"]


def mounts_exist(objects: list[Object]) -> Findings:
    maps = {one["metadata"]["name"]: one.get("data", {}) for one in of_kind(objects, "ConfigMap")}
    claims = {one["metadata"]["name"] for one in of_kind(objects, "PersistentVolumeClaim")}
    accounts = {one["metadata"]["name"] for one in of_kind(objects, "ServiceAccount")} | {"default"}
    for pod in pods(objects):
        volumes = {one["name"]: one for one in pod.spec.get("volumes", [])}
        templates = {one["metadata"]["name"] for one in pod.workload["spec"].get("volumeClaimTemplates", [])}
        for one in pod.containers:
            for mount in one.get("volumeMounts", []):
                if mount["name"] not in volumes.keys() | templates:
                    yield f"{pod.name}: mounts {mount['name']}, which is no volume"
            for key in [
                source["configMapRef"]["name"] for source in one.get("envFrom", []) if "configMapRef" in source
            ]:
                if key not in maps:
                    yield f"{pod.name}: there is no ConfigMap {key}"
            yield from _files_exist(pod, one, volumes, maps)
        for volume in volumes.values():
            if "configMap" in volume and volume["configMap"]["name"] not in maps:
                yield f"{pod.name}: there is no ConfigMap {volume['configMap']['name']}"
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim is not None and claim not in claims and pod.workload["kind"] not in JOBS:
                yield f"{pod.name}: there is no PersistentVolumeClaim {claim}"
        if pod.spec.get("serviceAccountName", "default") not in accounts:
            yield f"{pod.name}: there is no ServiceAccount {pod.spec['serviceAccountName']}"


def _files_exist(pod: Pod, container: Object, volumes: dict[str, Object], maps: dict[str, Object]) -> Findings:
    """Files of ConfigMaps that a command names must be keys of them."""
    words = [*container.get("command", []), *container.get("args", [])]
    for mount in container.get("volumeMounts", []):
        source = volumes.get(mount["name"], {}).get("configMap", {}).get("name")
        for word in words if source in maps else []:
            folder, _, file = word.rpartition("/")
            if folder == mount["mountPath"] and file not in maps[source]:
                yield f"{pod.name}: the ConfigMap {source} has no {file}"


def disruptions_are_bounded(objects: list[Object]) -> Findings:
    for pod in pods(objects):
        if pod.workload["kind"] not in SERVING:
            continue
        budgets = [
            one for one in of_kind(objects, "PodDisruptionBudget") if matches(one["spec"]["selector"], pod.labels)
        ]
        if len(budgets) != 1 or budgets[0]["spec"].get("maxUnavailable") != 1:
            yield f"{pod.name}: needs one PodDisruptionBudget with maxUnavailable: 1"
        if replicas(objects, pod.workload) > 1 and not pod.spec.get("topologySpreadConstraints"):
            yield f"{pod.name}: its replicas may all be on one node"


def network_is_closed(objects: list[Object]) -> Findings:
    policies = list(of_kind(objects, "NetworkPolicy"))
    for pod in pods(objects):
        own = [
            one for one in policies if one["spec"]["podSelector"] and matches(one["spec"]["podSelector"], pod.labels)
        ]
        if not any("Ingress" in one["spec"]["policyTypes"] for one in own):
            yield f"{pod.name}: no NetworkPolicy says who may reach it"
        admin = {"admin", pod.ports["admin"]} if "admin" in pod.ports else set()
        for rule in [rule for one in own for rule in one["spec"].get("ingress", [])]:
            asked = {port["port"] for port in rule.get("ports", [])}
            allowed = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
            if admin and (not asked or asked & admin) and rule.get("from") != allowed:
                yield f"{pod.name}: its admin port is open to more than monitoring"
            if not rule.get("from"):
                yield f"{pod.name}: is open to everybody"
    for service in of_kind(objects, "Service"):
        served = {port.get("targetPort") for port in service["spec"]["ports"]}
        if "admin" in served and (len(served) > 1 or service["spec"].get("type", "ClusterIP") != "ClusterIP"):
            yield f"{name(service)}: shows the admin port beside another or outside of the cluster"


def objects_are_small_and_single(objects: list[Object]) -> Findings:
    for one in objects:
        if len(json.dumps(one)) > MOST_BYTES * 0.9:
            yield f"{name(one)}: too large for kubectl apply"
        if one["kind"] != "Namespace" and one["metadata"].get("namespace") != "graduand":
            yield f"{name(one)}: is not in the namespace"
    ids = sorted(f"{one['apiVersion']} {name(one)}" for one in objects)
    yield from (f"{one} is there twice" for one, other in pairwise(ids) if one == other)


POLICIES: tuple[Callable[[list[Object]], Findings], ...] = (
    images_are_pinned, resources_are_bounded, servers_are_probed, pods_are_confined, secrets_stay_outside, selectors_match,
    ports_exist, mounts_exist, fitting.drains_have_time, disruptions_are_bounded, network_is_closed, fitting.upstreams_exist,
    fitting.disk_outlives_the_pod, fitting.scaling_fits, objects_are_small_and_single, fitting.adapters_are_shared,
)  # fmt: skip
