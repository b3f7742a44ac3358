"""What the project's texts point at: links, paths, file names and modules, in pages, docstrings and comments."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.house.imports import PACKAGES, ROOT

FOLDERS = (*PACKAGES, "graduand", "docs", "tests", "benchmarks", "deploy", "examples", "research", ".github")
SUFFIX = r"\.(?:md|py|pyi|sh|ya?ml|toml|json|jsonl|npz|lua|css|js|html|Dockerfile)\b"
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*?[\w-]+{SUFFIX}")
FILE = re.compile(r"(?<![\w./*-])[\w-]+\.(?:md|py)\b(?![\w/])")
MODULE = re.compile(rf"(?<![\w./-])(?:graduand\.)?((?:{'|'.join(PACKAGES)})(?:\.[a-z_]\w*)+)(?![\w/(-])")
FILE_NAME = re.compile(rf"{SUFFIX}$")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
# Files that a command makes on the reader's side, or that the reader is told to make.
MADE = {"report.md", "ask.py", "tickets.py", "deploy/k8s/overlays/mine/kustomization.yaml"}


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of prose and the file in which it stands."""

    path: Path
    text: str


@cache
def files() -> frozenset[str]:
    """Every path of the repository, whether git knows it yet or not, relative to its root."""
    return frozenset(str(path.relative_to(ROOT)) for path in _walk(ROOT))


@cache
def _names() -> frozenset[str]:
    return frozenset(Path(path).name for path in files()) | MADE


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or path.name in {"__pycache__", "build", "dist", "runs"}:
            continue
        if not path.is_dir():
            yield path
        elif not path.name.startswith(".") or path.name in {".github", ".ci"}:
            yield from _walk(path)


def pages() -> list[Path]:
    """Every Markdown page."""
    return [ROOT / path for path in sorted(files()) if path.endswith(".md")]


def prose() -> Iterator[Text]:
    """The pages without their fenced blocks, and of each module its docstrings and comments."""
    for path in sorted(files()):
        if path.endswith(".md"):
            yield Text(ROOT / path, FENCE.sub("", (ROOT / path).read_text("utf-8")))
        elif path.endswith(".py"):
            yield Text(ROOT / path, "\n".join(_said((ROOT / path).read_text("utf-8"))))


def _said(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def missing(said: Text) -> list[str]:
    """What a text names and the repository does not have."""
    paths = [path for path in PATH.findall(said.text) if path not in files() and path not in MADE]
    text = PATH.sub("", LINK.sub("", said.text))
    bare = [name for name in FILE.findall(text) if name not in _names()]
    return paths + bare + [name for name in MODULE.findall(text) if not _module(name) and not FILE_NAME.search(name)]


def _module(name: str) -> bool:
    """Whether it is a module, or something that stands in one under this name.

    >>> _module("gateway.errors"), _module("gateway.errors.GraduandError"), _module("gateway" + ".nowhere")
    (True, True, False)
    """
    parts = name.split(".")
    for end in range(len(parts), 1, -1):
        for path in ("/".join(parts[:end]) + ".py", "/".join([*parts[:end], "__init__.py"])):
            if path in files():
                return end == len(parts) or parts[end] in (ROOT / path).read_text("utf-8")
    return False


def dead_links(page: Path) -> list[str]:
    """Relative links that lead nowhere."""
    links = [link for link in LINK.findall(FENCE.sub("", page.read_text("utf-8"))) if "://" not in link]
    return [link for link in links if not link.startswith("mailto:") and not (page.parent / link).exists()]
