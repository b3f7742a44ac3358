"""One import name for each module, `graduand.…`, so that a user's own `training/` folder is never in the way, nor shadowed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.imports import PACKAGES, ROOT

# Imports all of it in one process; prints each file that is loaded under two names.
TWICE = """
import collections, importlib, os, pkgutil, sys
import graduand

names = [one.name for one in pkgutil.walk_packages(graduand.__path__, "graduand.")]
for name in names:
    if not name.endswith(".__main__"):
        importlib.import_module(name)
files = collections.defaultdict(set)
for name, module in list(sys.modules.items()):
    if getattr(module, "__file__", None) and name != "__main__":
        files[os.path.realpath(module.__file__)].add(module.__name__)
print(len(names))
ours = tuple(os.path.join(sys.argv[1], name) for name in ("gateway", "training", "rollout", "monitoring", "graduand"))
print(*[sorted(found) for path, found in files.items() if len(found) > 1 and path.startswith(ours)], sep="\\n")
"""
OLD = re.compile(
    rf"^\s*(?:>>> )?(?:from|import) (?:{'|'.join(PACKAGES)})\b|-m (?:{'|'.join(PACKAGES)})\b", re.MULTILINE
)
TEXTS = (".py", ".md", ".sh", ".yaml", ".yml", ".toml", ".json", ".Dockerfile", "Makefile")
VERSION = re.compile(r"^graduand \d", re.MULTILINE)


def test_no_module_is_loaded_twice() -> None:
    command = [sys.executable, "-W", "ignore", "-c", TWICE, str(ROOT)]
    done = subprocess.run(command, cwd=ROOT, env=_environ(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    number, *twice = done.stdout.splitlines()
    assert int(number) > 300
    assert [line for line in twice if line] == []


def test_nothing_imports_the_folders_by_their_own_names() -> None:
    """In code, in code that is text in another file, and in commands."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    paths = listed.stdout.splitlines() or [str(path.relative_to(ROOT)) for path in ROOT.rglob("*")]
    found = [
        f"{path}: {hit[0].strip()}"
        for path in paths
        if path.endswith(TEXTS) and (ROOT / path).is_file() and not path.startswith(".venv")
        for hit in OLD.finditer((ROOT / path).read_text("utf-8"))
    ]
    assert found == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's own project: its folders have our folders' names, and end whoever imports them by mistake."""
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('this is the project, not graduand')")
    return tmp_path


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param(["-m", "graduand"], id="python -m"),
        pytest.param(["-m", "torch.distributed.run", "--nproc-per-node", "1", "-m", "graduand"], id="torchrun -m"),
    ],
)
def test_it_starts_in_a_project_with_folders_of_the_same_names(project: Path, launcher: list[str]) -> None:
    # Making the parser imports every command's module, training's too.
    command = [sys.executable, *launcher, "--version"]
    done = subprocess.run(command, cwd=project, env=_environ(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert VERSION.search(done.stdout)


def test_the_project_keeps_its_own(project: Path) -> None:
    """The other way round: `graduand` imported first does not take the name `training` from the project."""
    (project / "training" / "__init__.py").write_text("ours = 1")
    code = "import graduand.training.commands.cli, training; print(training.ours)"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, env=_environ(), capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
