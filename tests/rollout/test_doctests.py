"""Examples in docstrings hold."""

import doctest
import importlib
import pkgutil

import pytest

from graduand import rollout

MODULES = [module.name for module in pkgutil.walk_packages(rollout.__path__, "graduand.rollout.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
