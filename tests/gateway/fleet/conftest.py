"""Two engines that obey, and a tiny base with a trained adapter, as the training's tests have it."""

from collections.abc import Iterator

import pytest

from tests.gateway.fleet.engines import Engine
from tests.training.conftest import tiny_base, tiny_rows, trained

__all__ = ["tiny_base", "tiny_rows", "trained"]


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    started = [Engine(), Engine()]
    yield started
    for one in started:
        one.gate.set()
        one.kill()
