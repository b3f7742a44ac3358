"""What an embedder is: from a text to a point. `digest` says which numbers it computes with."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
# Longer texts are judged by their beginning.
MAX_CHARACTERS = 4_000


class Embedder(Protocol):
    """From a text to a point of length 1 (or 0, for a text without a known word)."""

    name: str
    digest: str

    def embed(self, text: str) -> Vector:
        """One text's point."""
