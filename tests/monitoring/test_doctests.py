"""Examples in docstrings hold."""

import doctest
import importlib
import pkgutil

import pytest

from graduand.monitoring import checks, drift, embedding

PACKAGES = (drift, embedding, checks)
MODULES = [
    module.name for package in PACKAGES for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
] + ["graduand.monitoring.grafana.panels", "graduand.monitoring.runbooks"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
