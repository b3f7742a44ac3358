"""Fixtures: a fake teacher on a free port."""

from collections.abc import Iterator

import pytest

from tests.training.teacher.fake import Fake, running


@pytest.fixture
def fake() -> Iterator[Fake]:
    """A running fake teacher."""
    with running() as teacher:
        yield teacher
