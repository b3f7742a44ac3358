"""The layout holds: limits, contracts, and the drawings of ARCHITECTURE.md, which say what the imports say."""

import ast
import doctest
import subprocess
import sys

import pytest

from tests.house import drawing, imports, size
from tests.house.imports import PACKAGES, ROOT, Arrow, House
from tests.house.limits import broken

CONTAINERS = {"The four packages": "graduand", "The layers of gateway/": "graduand.gateway"}


@pytest.fixture(scope="module")
def house() -> House:
    return House.read()


def test_the_limits_hold(house: House) -> None:
    assert broken(house) == []


@pytest.mark.parametrize(
    ("arrows", "said"),
    [
        ([("rollout.a", "rollout.b"), ("rollout.b", "rollout.c"), ("rollout.c", "rollout.a")], "circles"),
        ([("monitoring.series", "gateway.logs.tail")], "upward"),
        ([("gateway.model.routes", "training.fit.fit")], "upward"),
        ([("rollout.machine", "monitoring.prices")], "upward"),
        (
            [
                (f"gateway.{one}.a", f"gateway.{other}.b")
                for a, b in ("pq", "rs", "tu")
                for one, other in (a + b, b + a)
            ],
            "import each other",
        ),
    ],
)
def test_what_is_over_a_limit_is_told(arrows: list[Arrow], said: str) -> None:
    modules = frozenset(name for arrow in arrows for name in arrow)
    [fault] = broken(House(modules, frozenset(arrows)))
    assert said in fault


def test_an_import_inside_a_function_counts(house: House) -> None:
    inside = {
        (str(path.relative_to(ROOT).with_suffix("")).replace("/", "."), imports.short(node.module or ""))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("graduand.")
    }
    assert inside
    # `from package import module` is an arrow to the module.
    missing = [(one, to) for one, to in inside if not any(a == one and b.startswith(to) for a, b in house.arrows)]
    assert missing == []


def test_the_contracts_are_kept() -> None:
    """In a process of its own: import-linter sets logging up anew, and would silence the loggers of later tests."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("title", CONTAINERS)
def test_a_drawing_shows_what_is_there(title: str, house: House) -> None:
    """The drawing is the contract's; each package stands in it once; each import leads to a lower line."""
    container = CONTAINERS[title]
    layers = drawing.drawn(title)
    assert layers == [layer for layer in drawing.contracted(container) if layer != ("__main__",)]
    height = {name: -line for line, layer in enumerate(layers) for name in layer}
    assert len(height) == sum(len(layer) for layer in layers)
    within = imports.short(container + ".").removeprefix("graduand.")
    steps = {
        (one.removeprefix(within).split(".")[0], other.removeprefix(within).split(".")[0])
        for one, other in house.arrows
        if one.startswith(within) and other.startswith(within) and other != "gateway.errors"
    }
    inside = {name.removeprefix(within).split(".")[0] for name in house.modules if name.startswith(within)}
    assert inside - {"__main__", ""} <= height.keys()
    wrong = {(one, other) for one, other in steps if one != other and "__main__" not in (one, other)}
    assert {(one, other) for one, other in wrong if height[one] <= height[other]} == set()


@pytest.mark.parametrize("module", [imports, drawing, size])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_lines_are_counted_by_package() -> None:
    files, lines = size.counted([("gateway/cli.py", "a\nb\n"), ("gateway/logs/tail.py", "c\n"), ("tests/x.py", "d\n")])
    assert files == {"gateway/*.py": 1, "gateway/logs/": 1, "gateway/": 2, "tests/": 1, size.ALL: 2}
    assert lines == {"gateway/*.py": 2, "gateway/logs/": 1, "gateway/": 3, "tests/": 1, size.ALL: 3}
