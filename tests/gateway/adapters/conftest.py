"""The tiny base that training's tests have."""

from tests.training.conftest import tiny_base

__all__ = ["tiny_base"]
