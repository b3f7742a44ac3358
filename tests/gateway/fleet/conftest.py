"""A tiny base with a trained adapter, as the training's tests have it."""

from tests.training.conftest import tiny_base, tiny_rows, trained

__all__ = ["tiny_base", "tiny_rows", "trained"]
