"""No module keeps a name that nothing uses."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OURS = ("gateway", "rollout", "training", "monitoring", "benchmarks", "examples")


def _trees(folders: tuple[str, ...]) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def _used(tree: ast.Module) -> Iterator[str]:
    """Names that are read, imported or looked up, those in short texts too: `module:function`, `getattr`."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.alias(name=name):
                yield name.rpartition(".")[2]
            case ast.Constant(value=str(text)) if len(text) < 100:
                yield from text.replace(":", " ").replace(".", " ").split()


def _defined(tree: ast.Module) -> Iterator[str]:
    """Functions, classes and constants of a module; what a decorator registers is used by it."""
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name, decorator_list=[]) | ast.AsyncFunctionDef(name=name, decorator_list=[]):
                yield name
            case ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=targets):
                for target in targets:
                    yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))


def test_every_name_of_a_module_is_used_somewhere() -> None:
    used = {name for _, tree in _trees((*OURS, "tests")) for name in _used(tree)}
    unused = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, tree in _trees(OURS)
        for name in _defined(tree)
        if name not in used and name != "__all__"
    ]
    assert unused == []
