"""Real texts that are on every machine, or given by a folder: what usual traffic and what drifts in is made of."""

import ast
import importlib.metadata
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

SHORTEST, LONGEST = 40, 2_000


def comments(folder: Path) -> list[str]:
    """The texts of all JSON-lines files in a folder but the balanced test set, whose mix is another."""
    files = [path for path in sorted(folder.glob("*.jsonl")) if "balanced" not in path.name]
    found = (json.loads(line)["text"] for path in files for line in path.read_text("utf-8").splitlines())
    return sorted(set(found))


def docstrings() -> list[str]:
    """First paragraphs of the standard library's docstrings."""
    found: set[str] = set()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                found.update(_paragraphs(ast.get_docstring(node) or ""))
    return sorted(found)


def descriptions() -> list[str]:
    """Paragraphs of the installed packages' descriptions, at most forty of each."""
    found: set[str] = set()
    for package in importlib.metadata.distributions():
        body = package.metadata.get_payload()  # type: ignore[attr-defined]
        text = body if isinstance(body, str) and body.strip() else package.metadata.get("Description") or ""
        found.update(list(_paragraphs(text))[:40])
    return sorted(found)


def summaries() -> list[str]:
    """The installed packages' one-line summaries."""
    lines = {package.metadata.get("Summary") or "" for package in importlib.metadata.distributions()}
    return sorted(line for line in lines if len(line) >= SHORTEST)


def _paragraphs(text: str) -> Iterator[str]:
    return (part.strip() for part in text.split("\n\n") if SHORTEST <= len(part.strip()) <= LONGEST)
