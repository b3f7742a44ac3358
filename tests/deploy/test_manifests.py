"""Every set of manifests renders, is valid for current Kubernetes, holds to the policies, and starts the gateway."""

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from graduand.monitoring import kubernetes as rules
from tests.deploy import custom_resources
from tests.deploy.pods import KUBERNETES, REPOSITORY, Object, name, of_kind, pods, render
from tests.deploy.policies import POLICIES

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
from kubernetes_validate import utils  # noqa: E402

VERSIONS = ("1.34", "1.36", "1.37")
OVERLAYS = ("local", "vllm", "lorax", "redis-ha")
# Sets that somebody would put together, beside the overlays as they are: overlay, components.
TOGETHER = {
    "bucket": ("vllm", ("adapters-s3",)),
    "inference": ("vllm", ("inference-gateway",)),
    "whole": ("redis-ha", ("observability", "autoscaling", "adapters-s3", "inference-gateway")),
}
TRAINING = ("job", "trainjob", "rayjob")
DASHBOARDS = REPOSITORY / "monitoring" / "grafana" / "dashboards"


@pytest.fixture(scope="module", autouse=True)
def _schemas_are_read_once() -> None:
    utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)


@functools.cache
def rendered(which: str) -> list[Object]:
    if which in TOGETHER:
        overlay, components = TOGETHER[which]
        return _put_together(overlay, components)
    return render(KUBERNETES / ("training" if which in TRAINING else "overlays") / which)


def _put_together(overlay: str, components: tuple[str, ...]) -> list[Object]:
    # kustomize takes relative folders only, so the set stands beside the overlays for as long as it is rendered.
    folder = KUBERNETES / "overlays" / f".test-{overlay}-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "kustomization.yaml").write_text(
            yaml.safe_dump({
                "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": "graduand",
                "resources": [f"../{overlay}"], "components": [f"../../components/{one}" for one in components],
            })
        )  # fmt: skip
        return render(folder)
    finally:
        shutil.rmtree(folder)


def invalid(one: Object, version: str) -> str | None:
    """What is wrong with an object by the schemas of a Kubernetes version, or of its custom resource."""
    try:
        kubernetes_validate.validate(one, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        schema = custom_resources.schema(one["apiVersion"], one["kind"])
        error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(one))
        return None if error is None else f"{name(one)}: {error.json_path}: {error.message}"
    except kubernetes_validate.ValidationError as error:
        return f"{name(one)}: {'.'.join(map(str, error.path))}: {error.message}"
    return None


@pytest.mark.parametrize("which", [*OVERLAYS, *TOGETHER, *TRAINING])
def test_is_valid(which: str) -> None:
    objects = rendered(which)
    assert objects
    assert [text for one in objects for version in VERSIONS if (text := invalid(one, version))] == []


@pytest.mark.parametrize("which", [*OVERLAYS, *TOGETHER, *TRAINING])
def test_holds_to_the_policies(which: str) -> None:
    objects = rendered(which)
    assert [f"{policy.__name__}: {found}" for policy in POLICIES for found in policy(objects)] == []


@pytest.mark.parametrize("which", OVERLAYS)
def test_the_configuration_starts_the_gateway(which: str, tmp_path: Path) -> None:
    [text] = [
        one["data"]["gateway.yaml"] for one in of_kind(rendered(which), "ConfigMap") if "gateway.yaml" in one["data"]
    ]
    secrets = re.findall(r"/run/secrets/\S+?(?=})", text)
    for path in secrets:
        here = tmp_path / path.lstrip("/")
        here.parent.mkdir(parents=True, exist_ok=True)
        here.write_text("value")
    assert which == "local" or secrets
    file = tmp_path / "gateway.yaml"
    file.write_text(text.replace("/run/secrets", f"{tmp_path}/run/secrets"))
    command = [sys.executable, "-m", "graduand", "check", "--config", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert "support-triage" in done.stdout


@pytest.mark.parametrize("which", [*OVERLAYS, *TOGETHER, *TRAINING])
def test_the_readme_says_how_to_make_every_secret(which: str) -> None:
    readme = (KUBERNETES / "README.md").read_text()
    for pod in pods(rendered(which)):
        volumes = [volume["secret"]["secretName"] for volume in pod.spec.get("volumes", []) if "secret" in volume]
        sources = [
            one["secretRef"]["name"] for c in pod.containers for one in c.get("envFrom", []) if "secretRef" in one
        ]
        keys = [one.get("valueFrom", {}) for c in pod.containers for one in c.get("env", [])]
        names = [one["secretKeyRef"]["name"] for one in keys if "secretKeyRef" in one]
        for secret in {*volumes, *sources, *names}:
            assert f"secret generic {secret} " in readme


def test_training_writes_what_vllm_serves() -> None:
    [run] = [yaml.safe_load(one["data"]["run.yaml"]) for one in of_kind(rendered("job"), "ConfigMap")]
    [vllm] = [pod for pod in pods(rendered("vllm")) if pod.labels["app.kubernetes.io/name"] == "vllm"]
    assert f"--model={run['base']}" in vllm.spec["containers"][0]["args"]
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in vllm.spec["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    [job] = pods(rendered("job"))
    assert set(claims) <= {volume.get("persistentVolumeClaim", {}).get("claimName") for volume in job.spec["volumes"]}
    assert vllm.spec["securityContext"]["fsGroup"] == job.spec["securityContext"]["fsGroup"]


@pytest.mark.parametrize("version", VERSIONS)
def test_pods_of_a_ray_cluster_are_valid(version: str) -> None:
    """KubeRay's definition, of which ours is an extract, takes any pod."""
    found = pods(rendered("rayjob"))
    assert [pod.labels["app.kubernetes.io/component"] for pod in found] == ["head", "worker"]
    for pod in found:
        one = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "x", "labels": dict(pod.labels)},
            "spec": pod.spec,
        }
        assert invalid(one, version) is None


def test_a_ray_cluster_runs_what_its_image_has() -> None:
    [job] = [one for one in rendered("rayjob") if one["kind"] == "RayJob"]
    constraints = (REPOSITORY / "deploy" / "docker" / "constraints.txt").read_text().splitlines()
    assert f"ray=={job['spec']['rayClusterSpec']['rayVersion']}" in constraints
    [plain] = pods(rendered("job"))
    images = {one["image"] for pod in pods(rendered("rayjob")) for one in pod.containers}
    assert images == {one["image"] for one in plain.containers}


def test_every_command_of_a_ray_job_is_one(tmp_path: Path) -> None:
    """Each is parsed by the real command line, with the files that the pods mount."""
    from graduand.gateway.cli import parser
    from graduand.training.curation.pipeline import read_curation
    from graduand.training.data.labels import read_any_task
    from graduand.training.teacher.config import read_teachers

    [data] = [one["data"] for one in of_kind(rendered("rayjob"), "ConfigMap")]
    for name_of_file, text in data.items():
        (tmp_path / name_of_file).write_text(text)
    read_curation(tmp_path / "curate.yaml")
    assert read_any_task(str(tmp_path / "task.yaml")).labels
    assert [teacher.name for teacher in read_teachers(tmp_path / "teachers.yaml")] == ["gpt-4o"]
    lines = data["rows.sh"].replace("\\\n", " ").splitlines()
    commands = [shlex.split(line)[1:] for line in lines if line.strip().startswith("graduand ")]
    assert [command[1] for command in commands] == ["data", "label", "curate", "evaluate"]
    for command in commands:
        asked = parser().parse_args(command)
        assert command[1] == "data" or (asked.engine, asked.ray_address) == ("ray", "auto")


def test_the_operator_gets_the_rules_that_prometheus_gets() -> None:
    assert rules.TARGET.read_text() == rules.manifest(rules.RULES), "run python -m graduand.monitoring.kubernetes"


def test_every_dashboard_is_shipped() -> None:
    component = yaml.safe_load((REPOSITORY / "monitoring" / "kustomization.yaml").read_text())
    shipped = sorted(file for one in component["configMapGenerator"] for file in one["files"])
    assert shipped == sorted(f"grafana/dashboards/{path.name}" for path in DASHBOARDS.glob("*.json"))


def test_a_rule_file_becomes_an_object() -> None:
    text = 'groups:\n  - name: g\n    rules:\n      - {alert: A, expr: "a > 1\\n  and b", for: 1m}\n'
    made = rules.prometheus_rule([text, text.replace("name: g", "name: h")])
    assert [group["name"] for group in made["spec"]["groups"]] == ["g", "h"]
    assert invalid(made, VERSIONS[-1]) is None
