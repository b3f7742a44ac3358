"""Nothing on a request's way falls out of the compiled modules by a move or a new name."""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.house.compiled import hot
from tests.house.imports import ROOT

# What a worker has loaded of ours when it can serve.
LOADED = """
import sys
import graduand.gateway.processes.worker
import graduand.gateway.dataplane.plane
print(*sorted(name for name, module in sys.modules.items()
              if name.startswith("graduand.") and not hasattr(module, "__path__")), sep="\\n")
"""
# Loaded but plain, on purpose: what is made once a table or a start, what is another thread's or other people's code, and
# classes that mypyc cannot compile. A module that is used once a request or a chunk belongs into setup.py instead.
PLAIN = (
    "gateway.address", "gateway.errors", "gateway.adapters.", "gateway.config.", "gateway.logs.", "gateway.processes.",
    "gateway.state.", "gateway.model.clients", "gateway.model.fields", "gateway.model.keys", "gateway.model.monitors",
    "gateway.model.openai", "gateway.model.outbound", "gateway.model.plain",
    "gateway.model.recording", "gateway.model.routes", "gateway.dataplane.own_checks",
    "monitoring.checks.jsontext", "monitoring.checks.language", "monitoring.checks.written",
    "monitoring.metrics", "monitoring.prices", "monitoring.series", "rollout.answers.", "rollout.hybrid.", "rollout.spec.",
)  # fmt: skip


def test_what_is_listed_is_there() -> None:
    assert hot()
    assert [path for path in hot() if not (ROOT / path).is_file()] == []


def test_what_a_request_runs_through_is_compiled() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = [name.removeprefix("graduand.") for name in done.stdout.split()]
    assert "gateway.dataplane.plane" in loaded
    compiled = {path.removeprefix("graduand/").removesuffix(".py").replace("/", ".") for path in hot()}
    assert [name for name in loaded if name not in compiled and not name.startswith(PLAIN)] == []


@pytest.mark.parametrize("path", hot())
def test_a_caught_error_has_a_name_of_its_own(path: str) -> None:
    """Compiled, a name has one type a function: a second kind of error bound to it ends in a TypeError."""
    functions = ast.walk(ast.parse((ROOT / path).read_text()))
    twice = [
        (function.name, name)
        for function in functions
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for name in {name for name, _ in _caught(function)}
        if len({kind for caught, kind in _caught(function) if caught == name}) > 1
    ]
    assert twice == []


def _caught(function: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(function):
        if isinstance(node, ast.ExceptHandler) and node.name is not None and node.type is not None:
            yield node.name, ast.unparse(node.type)
