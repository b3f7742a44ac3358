"""A planted mistake of each kind is found, and by the check that is meant to find it."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy import policies
from tests.deploy.pods import KUBERNETES, Object, render
from tests.deploy.test_manifests import VERSIONS, invalid, rendered


@functools.cache
def _sound() -> list[Object]:
    return render(KUBERNETES / "overlays" / "vllm")


def _object(objects: list[Object], kind: str, named: str) -> Any:
    [found] = [one for one in objects if one["kind"] == kind and one["metadata"]["name"].startswith(named)]
    return found


def _pod(objects: list[Object], named: str = "gateway") -> Any:
    return _object(objects, "StatefulSet", named)["spec"]["template"]["spec"]


def _container(objects: list[Object], named: str = "gateway") -> Any:
    return _pod(objects, named)["containers"][0]


def _replace_in_configuration(objects: list[Object], old: str, new: str) -> None:
    data = _object(objects, "ConfigMap", "gateway")["data"]
    assert old in data["gateway.yaml"]
    data["gateway.yaml"] = data["gateway.yaml"].replace(old, new)


def _scaled(objects: list[Object], **changes: Any) -> None:
    spec = {"scaleTargetRef": {"kind": "StatefulSet", "name": "vllm"}, "maxReplicaCount": 2, "triggers": []} | changes
    meta = {"name": "vllm", "namespace": "graduand"}
    objects.append({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": meta, "spec": spec})


def _unset(objects: list[Object]) -> None:
    del _object(objects, "StatefulSet", "vllm")["spec"]["replicas"]


def _secret(objects: list[Object]) -> None:
    objects.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": "graduand"}})


def _monitor(objects: list[Object], label: str, port: str) -> None:
    spec = {"selector": {"matchLabels": {"app.kubernetes.io/name": label}}, "endpoints": [{"port": port}]}
    meta = {"name": "x", "namespace": "graduand"}
    objects.append({"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": meta, "spec": spec})


Mistake = Callable[[list[Object]], Any]
PLANTED: list[tuple[str, Mistake]] = [
    ("images_are_pinned", lambda o: _container(o).update(image="ghcr.io/graduand/gateway:latest")),
    ("images_are_pinned", lambda o: _container(o).update(image="registry:5000/gateway")),
    ("resources_are_bounded", lambda o: _container(o)["resources"]["limits"].pop("memory")),
    ("resources_are_bounded", lambda o: _container(o).pop("resources")),
    ("resources_are_bounded", lambda o: _pod(o)["volumes"].append({"name": "x", "emptyDir": {}})),
    ("servers_are_probed", lambda o: _container(o, "vllm").pop("readinessProbe")),
    ("pods_are_confined", lambda o: _pod(o)["securityContext"].pop("runAsNonRoot")),
    ("pods_are_confined", lambda o: _pod(o)["securityContext"].update(runAsUser=0)),
    ("pods_are_confined", lambda o: _pod(o)["securityContext"].pop("seccompProfile")),
    ("pods_are_confined", lambda o: _pod(o).pop("automountServiceAccountToken")),
    ("pods_are_confined", lambda o: _pod(o)["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    ("pods_are_confined", lambda o: _container(o)["securityContext"].pop("readOnlyRootFilesystem")),
    ("pods_are_confined", lambda o: _container(o)["securityContext"].update(allowPrivilegeEscalation=True)),
    ("pods_are_confined", lambda o: _container(o)["securityContext"]["capabilities"].update(add=["NET_ADMIN"])),
    ("pods_are_confined", lambda o: _container(o)["securityContext"].pop("capabilities")),
    ("secrets_stay_outside", _secret),
    ("secrets_stay_outside", lambda o: _replace_in_configuration(o, "unit: user", "unit: user # sk-abcdefgh12345")),
    ("secrets_stay_outside", lambda o: _container(o, "vllm")["env"].append({"name": "HF_TOKEN", "value": "x"})),
    ("selectors_match", lambda o: _object(o, "Service", "vllm")["spec"].update(selector={"app": "vllm"})),
    ("selectors_match", lambda o: _object(o, "StatefulSet", "vllm")["spec"]["selector"]["matchLabels"].update(a="b")),
    ("selectors_match", lambda o: _object(o, "NetworkPolicy", "vllm")["spec"]["podSelector"]["matchLabels"].update(a="b")),
    ("selectors_match", lambda o: _monitor(o, "gatewayy", "admin")),
    ("ports_exist", lambda o: _monitor(o, "gateway-admin", "http")),
    ("ports_exist", lambda o: _object(o, "Service", "vllm")["spec"]["ports"][0].update(targetPort="web")),
    ("ports_exist", lambda o: _container(o)["readinessProbe"]["httpGet"].update(port="web")),
    ("ports_exist", lambda o: _object(o, "NetworkPolicy", "vllm")["spec"]["ingress"][0]["ports"][0].update(port="web")),
    ("mounts_exist", lambda o: o.remove(_object(o, "ConfigMap", "gateway"))),
    ("mounts_exist", lambda o: _object(o, "ConfigMap", "gateway").update(data={"gateway.yml": ""})),
    ("mounts_exist", lambda o: _container(o)["volumeMounts"].append({"name": "x", "mountPath": "/x"})),
    ("mounts_exist", lambda o: o.remove(_object(o, "PersistentVolumeClaim", "adapters"))),
    ("mounts_exist", lambda o: o.remove(_object(o, "ServiceAccount", "gateway"))),
    ("drains_have_time", lambda o: _pod(o).update(terminationGracePeriodSeconds=130)),
    ("drains_have_time", lambda o: _container(o).pop("lifecycle")),
    ("drains_have_time", lambda o: _replace_in_configuration(o, "unit: user", "timeouts: {total_s: 600}")),
    ("disruptions_are_bounded", lambda o: o.remove(_object(o, "PodDisruptionBudget", "vllm"))),
    ("disruptions_are_bounded", lambda o: _object(o, "PodDisruptionBudget", "vllm")["spec"].update(maxUnavailable=0)),
    ("disruptions_are_bounded", lambda o: _pod(o, "vllm").pop("topologySpreadConstraints")),
    ("network_is_closed", lambda o: o.remove(_object(o, "NetworkPolicy", "vllm"))),
    ("network_is_closed", lambda o: _object(o, "NetworkPolicy", "vllm")["spec"]["ingress"][0].pop("from")),
    ("network_is_closed", lambda o: _object(o, "NetworkPolicy", "gateway")["spec"]["ingress"][0]["ports"].append({"port": 8081})),
    ("network_is_closed", lambda o: _object(o, "Service", "gateway-admin")["spec"].update(type="LoadBalancer")),
    ("upstreams_exist", lambda o: _object(o, "StatefulSet", "vllm")["spec"].update(replicas=1)),
    ("upstreams_exist", lambda o: _replace_in_configuration(o, "vllm-0.vllm:", "vllm-0.vlm:")),
    ("upstreams_exist", lambda o: _replace_in_configuration(o, "vllm-0.vllm:8000", "vllm-0.vllm:8001")),
    ("disk_outlives_the_pod", lambda o: _replace_in_configuration(o, "/var/lib/graduand/logs", "/tmp/logs")),
    ("disk_outlives_the_pod", lambda o: _object(o, "StatefulSet", "gateway")["spec"].update(replicas=2)),
    ("disk_outlives_the_pod", lambda o: _replace_in_configuration(o, "workers: 2", "workers: 8")),
    ("scaling_fits", lambda o: _scaled(o)),
    ("scaling_fits", lambda o: _unset(o) or _scaled(o, maxReplicaCount=5)),
    ("scaling_fits", lambda o: _unset(o) or _scaled(o, scaleTargetRef={"kind": "Deployment", "name": "vllm"})),
    ("scaling_fits", lambda o: _unset(o) or _scaled(o, triggers=[{"metadata": {"query": "sum(graduand_requests_flying)"}}])),
    ("adapters_are_shared", lambda o: _container(o, "vllm")["volumeMounts"][0].update(mountPath="/data")),
    ("adapters_are_shared", lambda o: _container(o)["volumeMounts"].pop(0)),
    ("objects_are_small_and_single", lambda o: o.append(copy.deepcopy(o[-1]))),
    ("objects_are_small_and_single", lambda o: _object(o, "ConfigMap", "gateway")["data"].update(x="y" * 250_000)),
    ("objects_are_small_and_single", lambda o: _object(o, "Service", "vllm")["metadata"].pop("namespace")),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "mistake"), PLANTED, ids=[f"{name}-{n}" for n, (name, _) in enumerate(PLANTED)])
def test_a_planted_mistake_is_found(policy: str, mistake: Mistake) -> None:
    objects = copy.deepcopy(_sound())
    [check] = [one for one in policies.POLICIES if one.__name__ == policy]
    assert list(check(objects)) == []
    mistake(objects)
    assert list(check(objects))


def test_an_autoscaler_that_fits_is_no_mistake() -> None:
    objects = copy.deepcopy(_sound())
    _unset(objects)
    _scaled(objects, minReplicaCount=2)
    assert [found for policy in policies.POLICIES for found in policy(objects)] == []


def test_every_policy_has_a_mistake() -> None:
    assert {policy.__name__ for policy in policies.POLICIES} == {name for name, _ in PLANTED}


BROKEN: list[tuple[str, Mistake]] = [
    ("misspelt field", lambda o: _container(o).update(livenesProbe={})),
    ("wrong type", lambda o: _object(o, "StatefulSet", "vllm")["spec"].update(replicas="two")),
    ("missing field", lambda o: _object(o, "Service", "vllm")["spec"].pop("ports") and _container(o).pop("name")),
    ("gone version", lambda o: _object(o, "PodDisruptionBudget", "vllm").update(apiVersion="policy/v1beta1")),
    ("misspelt field of a custom resource", lambda o: _scaled(o, maxReplicas=2)),
]


@pytest.mark.parametrize("mistake", [mistake for _, mistake in BROKEN], ids=[name for name, _ in BROKEN])
def test_an_invalid_object_is_found(mistake: Mistake) -> None:
    objects = copy.deepcopy(_sound())
    mistake(objects)

    def wrong(one: Object) -> bool:
        try:
            return invalid(one, VERSIONS[-1]) is not None
        except KeyError:  # a kind that nothing is known of
            return True

    assert any(wrong(one) for one in objects)


def test_what_training_runs_is_confined_too() -> None:
    [job] = [one for one in rendered("trainjob") if one["kind"] == "TrainJob"]
    [patch] = job["spec"]["runtimePatches"]
    [node] = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    spec = node["template"]["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == {
        one["name"] for one in spec["volumes"]
    }
    [plain] = [one for one in rendered("job") if one["kind"] == "Job"]
    assert job["spec"]["trainer"]["image"] == plain["spec"]["template"]["spec"]["containers"][0]["image"]
