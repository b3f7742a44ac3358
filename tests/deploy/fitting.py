"""How the manifests fit the gateway's configuration that they carry: time to drain, replicas, disks, scaling."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from graduand.monitoring.metrics import FAMILIES
from tests.deploy.pods import Object, Pod, gateway_configuration, name, of_kind, pods, replicas

Findings = Iterator[str]
# The supervisor's own patience at the end: workers, the shipper, the admin plane; and some to spare.
AFTER_TOTAL_S = 5 + 15 + 5 + 5
METRIC = re.compile(r"\bgraduand_[a-z_]+")


def drains_have_time(objects: list[Object]) -> Findings:
    routes = gateway_configuration(objects).get("routes", {}).values()
    longest_s = max((route.get("timeouts", {}).get("total_s", 120) for route in routes), default=0)
    for pod in pods(objects):
        if pod.labels.get("app.kubernetes.io/name") != "gateway":
            continue
        before_s = pod.spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if before_s < 3:
            yield f"{pod.name}: closes its port before the nodes know"
        needed_s = before_s + longest_s + AFTER_TOTAL_S
        if pod.spec.get("terminationGracePeriodSeconds", 30) < needed_s:
            yield f"{pod.name}: is killed before its longest answer ends; it needs {needed_s} s"


def upstreams_exist(objects: list[Object]) -> Findings:
    """Every replica that the configuration names is a pod that is there, takes the port, and may be asked."""
    by_name = {pod.workload["metadata"]["name"]: pod for pod in pods(objects)}
    for upstream, section in gateway_configuration(objects).get("upstreams", {}).items():
        for url in section["base_urls"]:
            parts = urlsplit(url)
            if parts.scheme == "https":
                continue
            replica, _, service = str(parts.hostname).partition(".")
            workload, _, ordinal = replica.rpartition("-")
            pod = by_name.get(workload)
            if pod is None or pod.workload["spec"].get("serviceName") != service:
                yield f"upstream {upstream}: there is no StatefulSet {workload} with the Service {service}"
            elif int(ordinal) >= replicas(objects, pod.workload):
                yield f"upstream {upstream}: {workload} has no replica {ordinal}"
            elif parts.port not in pod.ports.values() or pod.labels.get("graduand.dev/upstream") != "true":
                yield f"upstream {upstream}: the gateway cannot reach {parts.netloc}"


def disk_outlives_the_pod(objects: list[Object]) -> Findings:
    found = gateway_configuration(objects)
    for pod in pods(objects):
        if pod.labels.get("app.kubernetes.io/name") != "gateway":
            continue
        claimed = {one["metadata"]["name"] for one in pod.workload["spec"].get("volumeClaimTemplates", [])}
        kept = [mount["mountPath"] for mount in pod.spec["containers"][0]["volumeMounts"] if mount["name"] in claimed]
        for key in ("state", "logs"):
            path = "/" + urlsplit(found[key]).path.lstrip("/")
            local = urlsplit(found[key]).scheme in ("file", "sqlite")
            if local and not any(path.startswith(mount + "/") for mount in kept):
                yield f"{pod.name}: {key} is lost with the pod"
        if found["state"].startswith("sqlite") and replicas(objects, pod.workload) != 1:
            yield f"{pod.name}: replicas cannot share a SQLite file"
        cores = float(pod.spec["containers"][0]["resources"]["limits"]["cpu"])
        if found.get("workers", 1) > cores:
            yield f"{pod.name}: {found['workers']} workers share {cores:g} cores"


def scaling_fits(objects: list[Object]) -> Findings:
    workloads = {one["metadata"]["name"]: one for one in of_kind(objects, "Deployment", "StatefulSet")}
    families = {f"{family.name}_total" if family.kind == "counter" else family.name for family in FAMILIES}
    upstreams = gateway_configuration(objects).get("upstreams", {}).values()
    listed = {
        workload: sum(f"//{workload}-" in url for one in upstreams for url in one["base_urls"])
        for workload in workloads
    }
    for one in of_kind(objects, "ScaledObject"):
        target = workloads.get(one["spec"]["scaleTargetRef"]["name"])
        if target is None or target["kind"] != one["spec"]["scaleTargetRef"].get("kind", "Deployment"):
            yield f"{name(one)}: there is nothing to scale"
        elif "replicas" in target["spec"]:
            yield f"{name(one)}: every apply would set {name(target)} back"
        most = one["spec"]["maxReplicaCount"]
        if target is not None and 0 < listed[target["metadata"]["name"]] != most:
            yield f"{name(one)}: {most} replicas at most, but the gateway's configuration lists another number"
        for trigger in one["spec"]["triggers"]:
            unknown = set(METRIC.findall(trigger["metadata"].get("query", ""))) - families
            yield from (f"{name(one)}: there is no metric {metric}" for metric in sorted(unknown))


def adapters_are_shared(objects: list[Object]) -> Findings:
    """The gateway names a folder to an engine that loads on demand, so both must have the same one under the same path."""
    upstreams = gateway_configuration(objects).get("upstreams", {}).values()
    for pod in pods(objects):
        loads = any(
            f"//{pod.workload['metadata']['name']}-" in url
            for one in upstreams
            if one["kind"] == "vllm"
            for url in one["base_urls"]
        )
        if loads:
            theirs = _folder(pod)
            for gateway in pods(objects):
                if gateway.labels.get("app.kubernetes.io/name") == "gateway" and (
                    theirs is None or _folder(gateway) != theirs
                ):
                    yield f"{gateway.name}: does not have the adapters of {pod.name} at the same path"


def _folder(pod: Pod) -> tuple[str, str] | None:
    """Where a pod's volume of adapters is mounted, and what it is: a claim, or a copy of a bucket."""
    volume = next((one for one in pod.spec.get("volumes", []) if one["name"] == "adapters"), None)
    paths = [one["mountPath"] for one in pod.spec["containers"][0]["volumeMounts"] if one["name"] == "adapters"]
    if volume is None or not paths:
        return None
    return paths[0], volume.get("persistentVolumeClaim", {}).get("claimName", "copy")
