"""Examples in docstrings hold."""

import doctest
import importlib
import pkgutil

import pytest

import monitoring.drift
import monitoring.embedding
import monitoring.gates

PACKAGES = (monitoring.drift, monitoring.embedding, monitoring.gates)
MODULES = [
    module.name for package in PACKAGES for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
] + ["monitoring.grafana.panels", "monitoring.runbooks"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
