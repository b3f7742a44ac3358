"""The wheel that goes into the gateway's image, made from what its Dockerfile copies, and used from outside the checkout."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.deploy.pods import REPOSITORY

CONFIGURATION = """
upstreams: {engine: {kind: vllm, base_urls: ["http://127.0.0.1:9/v1"]}}
routes: {support-triage: {teacher: {upstream: engine, model: base}}}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as in the Dockerfile, but with this environment's setuptools and mypy instead of fresh ones."""
    folder = tmp_path_factory.mktemp("wheel")
    text = (REPOSITORY / "deploy" / "docker" / "gateway.Dockerfile").read_text()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M):
        for source in sources.split():
            _copy(REPOSITORY / source, folder / "source" / source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        ".",
    ]
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"GRADUAND_COMPILED": "1"}
    done = subprocess.run(command, cwd=folder / "source", env=environ, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    [made] = folder.glob("*.whl")
    return made


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    else:
        shutil.copy(source, target)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_it_holds_everything(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    for module in _hot():
        assert any(name.startswith(module.removesuffix(".py") + ".cpython") for name in held), (
            f"{module} is not compiled"
        )
    data = [
        path
        for package in ("gateway", "monitoring", "rollout", "training")
        for path in (REPOSITORY / package).rglob("page/*")
    ]
    assert data
    assert {str(path.relative_to(REPOSITORY)) for path in data} <= set(held)


def _hot() -> list[str]:
    """As in setup.py, which only setuptools can read."""
    dataplane = [path for path in sorted(REPOSITORY.glob("gateway/dataplane/*.py")) if path.name != "__init__.py"]
    return [
        *(str(path.relative_to(REPOSITORY)) for path in dataplane),
        "gateway/model/record.py",
        "gateway/model/routing.py",
        "rollout/assignment.py",
    ]


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_it_works_from_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    [site] = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    # The dependencies are this environment's; a .pth file does not bring its editable installation of the checkout.
    (site / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION)
    code = "import gateway.dataplane.plane as p, gateway.cli as c, sys; print(p.__file__); sys.exit(c.main())"
    command = [tmp_path / "venv" / "bin" / "python", "-c", code, "check", "--config", "gateway.yaml"]
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site))
    assert ".so" in done.stdout.splitlines()[0]
    assert "gateway.yaml is valid" in done.stdout
