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
from tests.house.compiled import hot

CONFIGURATION = """
upstreams: {engine: {kind: vllm, base_urls: ["http://127.0.0.1:9/v1"]}}
routes: {support-triage: {teacher: {upstream: engine, model: base}}}
"""
PACKAGES = ("gateway", "monitoring", "rollout", "training")
SDIST = "import sys; from setuptools.build_meta import build_sdist; print(build_sdist(sys.argv[1]))"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1000)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Dockerfile copies."""
    folder = tmp_path_factory.mktemp("source")
    text = (REPOSITORY / "deploy" / "docker" / "gateway.Dockerfile").read_text()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M):
        for one in sources.split():
            _copy(REPOSITORY / one, folder / one)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _wheel(source, tmp_path_factory.mktemp("wheel"), GRADUAND_COMPILED="1")


def _wheel(of: Path, folder: Path, **environ: str) -> Path:
    """Built as in the Dockerfile, but with this environment's setuptools and mypy instead of fresh ones."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    _run([*pip, "--wheel-dir", folder, of], of if of.is_dir() else of.parent, **environ)
    [made] = folder.glob("*.whl")
    return made


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    else:
        shutil.copy(source, target)


def _run(command: list[str | Path], folder: Path, **more: str) -> str:
    """Run a command that finds no source but the installed ones; return what it says."""
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | more
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_everything_once_and_below_one_name(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    assert len(held) == len(set(held))
    tops = {name.partition("/")[0] for name in held}
    assert {top for top in tops if ".dist-info" not in top and "__mypyc" not in top} == {"graduand"}
    sources = {str(path.relative_to(REPOSITORY)) for package in PACKAGES for path in _sources(REPOSITORY / package)}
    assert {f"graduand/{path}" for path in sources} <= set(held)


def _sources(package: Path) -> list[Path]:
    data = [path for path in package.rglob("page/*") if path.is_file()]
    assert package.name != "gateway" or data
    return [*package.rglob("*.py"), *data, *package.rglob("static.npz"), package / "py.typed"]


def test_it_holds_the_hot_path_compiled(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    plain = [path for path in hot() if not any(name.startswith(path.removesuffix("py") + "cpython") for name in held)]
    assert plain == []


def test_a_source_archive_gives_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    archive = tmp_path / _run([sys.executable, "-c", SDIST, tmp_path], source, GRADUAND_PURE="1").splitlines()[-1]
    again = _wheel(archive, tmp_path, GRADUAND_PURE="1")
    assert {name for name in zipfile.ZipFile(again).namelist() if name.startswith("graduand/")} == {
        name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("graduand/") and not name.endswith(".so")
    }


def test_it_works_from_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    [site] = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    # The dependencies are this environment's; a .pth file does not bring its editable installation of the checkout.
    (site / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION)
    for package in PACKAGES:  # the user's own folders of these names
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('not graduand')")
    code = "import graduand.gateway.dataplane.plane as p; print(p.__file__)"
    python = tmp_path / "venv" / "bin" / "python"
    file = _run([python, "-c", code], tmp_path).strip()
    assert file.startswith(str(site))
    assert file.endswith(".so")
    assert "gateway.yaml is valid" in _run([python, "-m", "graduand", "check", "--config", "gateway.yaml"], tmp_path)
