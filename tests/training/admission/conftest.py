"""A trained adapter to be spoilt."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of it, to be spoilt."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(trained, tmp_path / name))

    return copy
