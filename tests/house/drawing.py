"""The drawing in ARCHITECTURE.md: its lines from top to bottom, and the packages that stand on each."""

import re
import tomllib
from pathlib import Path

from tests.house.imports import ROOT

PAGE = ROOT / "ARCHITECTURE.md"
Layers = list[tuple[str, ...]]


def drawn(title: str, page: Path = PAGE) -> Layers:
    """The layers drawn under a heading: of each line the words before two spaces, `|` between what stands side by side."""
    section = page.read_text("utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    block = re.search(r"^```text\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert block is not None, f"{page.name} has no drawing under '{title}'"
    lines = [line for line in block[1].splitlines() if line and not line.startswith(" ")]
    return [layer(re.split(r"\s{2,}", line)[0]) for line in lines]


def layer(text: str) -> tuple[str, ...]:
    """The names on one line.

    >>> layer("processes/ | commands/"), layer("errors.py")
    (('processes', 'commands'), ('errors',))
    """
    return tuple(name.strip().removesuffix("/").removesuffix(".py") for name in text.split("|"))


def contracted(container: str) -> Layers:
    """The layers that `make check` holds a package to, from pyproject.toml."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [found] = [one for one in contracts if one["type"] == "layers" and one["containers"] == [container]]
    return [layer(line) for line in found["layers"]]
