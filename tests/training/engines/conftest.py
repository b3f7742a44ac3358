"""A real Ray of two workers on this machine, started once for the module that asks for it."""

from collections.abc import Iterator

import pytest

from tests.training.teacher.fake import Fake, running


@pytest.fixture
def fake() -> Iterator[Fake]:
    """A running fake teacher."""
    with running() as teacher:
        yield teacher


@pytest.fixture(scope="module")
def two_workers() -> Iterator[None]:
    """Commands with `--engine ray` in this process use it, and leave it running."""
    pytest.importorskip("ray", reason="pip install 'graduand[ray]'")
    from graduand.training.engines.ray_data import imported

    ray = imported()
    ray.init(address="local", num_cpus=2, object_store_memory=100_000_000, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
