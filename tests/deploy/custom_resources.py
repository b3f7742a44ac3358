"""Schemas of the custom resources that are used: strict, and no wider than what the manifests need.

Written by hand from the projects' published definitions, since no package carries these offline. Where GRADUAND_CRDS names
a folder of CustomResourceDefinitions (prometheus-operator, KEDA, Gateway API, Inference Extension, Kubeflow Trainer, KubeRay),
those are used instead.
"""

import os
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
DURATION: Schema = {"type": "string", "pattern": r"^([0-9]+(ms|[smhdwy]))+$"}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
ANYTHING: Schema = {"type": "object"}


def _fields(*required: str, **fields: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": fields}


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, "minItems": 1, **more}


def _one_of(*values: str) -> Schema:
    return {"enum": list(values)}


SELECTOR = _fields(
    matchLabels=TEXTS,
    matchExpressions=_list(
        _fields(
            "key", "operator", key=TEXT, operator=_one_of("In", "NotIn", "Exists", "DoesNotExist"), values=_list(TEXT)
        )
    ),
)
RELABELING = _fields(
    sourceLabels=_list(TEXT), regex=TEXT, action=_one_of("drop", "keep", "labeldrop", "labelkeep", "replace"),
    targetLabel=TEXT, replacement={"type": "string"},
)  # fmt: skip
RULE = _fields(
    "expr", alert=TEXT, record=TEXT, expr=TEXT, labels=TEXTS, annotations=TEXTS, keep_firing_for=DURATION,
    **{"for": DURATION},
) | {"oneOf": [{"required": ["alert"]}, {"required": ["record"]}]}  # fmt: skip
SCALING = _fields(
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    selectPolicy=_one_of("Max", "Min", "Disabled"),
    policies=_list(
        _fields("type", "value", "periodSeconds", type=_one_of("Pods", "Percent"), value=COUNT, periodSeconds=COUNT)
    ),
)
PROMETHEUS = _fields("type", "metadata", type=_one_of("prometheus"), metadata=_fields(
    "serverAddress", "query", "threshold", serverAddress=TEXT, query=TEXT, threshold=TEXT))  # fmt: skip
CPU = _fields("type", "metricType", "metadata", type=_one_of("cpu", "memory"), metricType=_one_of("Utilization"),
              metadata=_fields("value", value=TEXT))  # fmt: skip
CONTAINER_PATCH = _fields(
    "name", name=TEXT, env=_list(ANYTHING), securityContext=ANYTHING, volumeMounts=_list(ANYTHING)
)
POD_PATCH = _fields(
    nodeSelector=TEXTS, tolerations=_list(ANYTHING), affinity=ANYTHING, securityContext=ANYTHING, volumes=_list(ANYTHING),
    serviceAccountName=TEXT, containers=_list(CONTAINER_PATCH), initContainers=_list(CONTAINER_PATCH),
)  # fmt: skip
JOB_PATCH = _fields(spec=_fields(template=_fields(metadata=_fields(labels=TEXTS), spec=POD_PATCH)))

SPECS: dict[tuple[str, str], Schema] = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _fields(
        "selector", "endpoints", jobLabel=TEXT, selector=SELECTOR,
        endpoints=_list(_fields(port=TEXT, path=TEXT, interval=DURATION, scrapeTimeout=DURATION,
                                metricRelabelings=_list(RELABELING))),
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _fields(
        groups=_list(_fields("name", name=TEXT, interval=DURATION, rules=_list(RULE))),
    ),
    ("keda.sh/v1alpha1", "ScaledObject"): _fields(
        "scaleTargetRef", "triggers",
        scaleTargetRef=_fields("name", apiVersion=TEXT, kind=TEXT, name=TEXT),
        minReplicaCount=COUNT, maxReplicaCount=COUNT, pollingInterval=COUNT, cooldownPeriod=COUNT,
        fallback=_fields("failureThreshold", "replicas", failureThreshold=COUNT, replicas=COUNT),
        advanced=_fields(horizontalPodAutoscalerConfig=_fields(behavior=_fields(scaleUp=SCALING, scaleDown=SCALING))),
        triggers=_list({"anyOf": [PROMETHEUS, CPU]}),
    ),
    ("inference.networking.k8s.io/v1", "InferencePool"): _fields(
        "selector", "targetPorts", "endpointPickerRef",
        selector=_fields("matchLabels", matchLabels=TEXTS), targetPorts=_list(_fields("number", number=PORT), maxItems=8),
        endpointPickerRef=_fields("name", "port", group={"type": "string"}, kind=TEXT, name=TEXT,
                                  port=_fields("number", number=PORT), failureMode=_one_of("FailOpen", "FailClose")),
    ),
    ("gateway.networking.k8s.io/v1", "Gateway"): _fields(
        "gatewayClassName", "listeners", gatewayClassName=TEXT,
        infrastructure=_fields(annotations=TEXTS, labels=TEXTS),
        listeners=_list(_fields("name", "port", "protocol", name=TEXT, port=PORT, protocol=_one_of("HTTP", "HTTPS"),
            allowedRoutes=_fields(namespaces=_fields(**{"from": _one_of("Same", "All", "Selector")})))),
    ),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): _fields(
        parentRefs=_list(_fields("name", name=TEXT)),
        rules=_list(_fields(
            matches=_list(_fields(path=_fields(type=_one_of("PathPrefix", "Exact"), value=TEXT))),
            timeouts=_fields(request=DURATION, backendRequest=DURATION),
            backendRefs=_list(_fields("name", group=TEXT, kind=TEXT, name=TEXT, port=PORT)))),
    ),
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): _fields(
        "runtimeRef", runtimeRef=_fields("name", apiGroup=TEXT, kind=TEXT, name=TEXT),
        trainer=_fields(image=TEXT, command=_list(TEXT), args=_list(TEXT), numNodes=PORT, numProcPerNode=PORT,
                        env=_list(ANYTHING), resourcesPerNode=_fields(requests=TEXTS, limits=TEXTS)),
        runtimePatches=_list(_fields("manager", manager=TEXT, trainingRuntimeSpec=_fields(template=_fields(
            spec=_fields(replicatedJobs=_list(_fields("name", name=TEXT, template=JOB_PATCH))))))),
    ),
}  # fmt: skip

NODES: dict[str, Schema] = {"rayStartParams": TEXTS, "template": _fields(
    "spec", metadata=_fields(labels=TEXTS), spec=ANYTHING)}  # fmt: skip
SPECS["ray.io/v1", "RayJob"] = _fields(
    "rayClusterSpec", entrypoint=TEXT, submissionMode=_one_of("K8sJobMode", "HTTPMode", "SidecarMode"), backoffLimit=COUNT,
    activeDeadlineSeconds=COUNT, shutdownAfterJobFinishes={"type": "boolean"}, ttlSecondsAfterFinished=COUNT,
    rayClusterSpec=_fields(
        "headGroupSpec", rayVersion=TEXT, authOptions=_fields(mode=_one_of("disabled", "token")),
        headGroupSpec=_fields("template", **NODES),
        workerGroupSpecs=_list(_fields("groupName", "minReplicas", "maxReplicas", "template", groupName=TEXT,
                                       replicas=COUNT, minReplicas=COUNT, maxReplicas=COUNT, **NODES)),
    ),
)  # fmt: skip


def schema(api_version: str, kind: str) -> Schema:
    """The schema of a whole object; KeyError for a kind that nothing is known of."""
    folder = os.environ.get("GRADUAND_CRDS")
    if folder:
        return _published(Path(folder), api_version, kind)
    top = {"apiVersion": TEXT, "kind": TEXT, "metadata": ANYTHING}
    return _fields("apiVersion", "kind", "metadata", "spec", spec=SPECS[api_version, kind], **top)


def _published(folder: Path, api_version: str, kind: str) -> Schema:
    group, _, version = api_version.partition("/")
    for path in sorted(folder.glob("*.yaml")):
        for one in yaml.load_all(path.read_text("utf-8"), yaml.CSafeLoader):
            spec = (one or {}).get("spec", {})
            if (spec.get("group"), spec.get("names", {}).get("kind")) == (group, kind):
                [found] = [one["schema"]["openAPIV3Schema"] for one in spec["versions"] if one["name"] == version]
                return _strict(found)
    raise KeyError((api_version, kind))


def _strict(part: Any) -> Any:
    """As the API server's strict field validation: an unknown field is an error wherever fields are listed."""
    if isinstance(part, list):
        return [_strict(one) for one in part]
    if not isinstance(part, dict):
        return part
    made = {key: _strict(value) for key, value in part.items()}
    if "properties" in made and part.get("type") == "object" and not part.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
        if "metadata" in made["properties"] and "kind" in made["properties"]:
            made["properties"]["metadata"] = ANYTHING
    if part.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made
