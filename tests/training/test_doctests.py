"""The examples in the docstrings are true."""

import doctest
import importlib
from pathlib import Path

import pytest

from graduand import training

ROOT = Path(training.__file__).parent
MODULES = sorted(
    ".".join(("graduand.training", *path.relative_to(ROOT).with_suffix("").parts))
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
