"""Examples in docstrings hold."""

import doctest
import importlib
import pkgutil

import pytest

from monitoring import gates

MODULES = [module.name for module in pkgutil.walk_packages(gates.__path__, "monitoring.gates.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
