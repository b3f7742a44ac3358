"""A text's point as the weighted mean of its words' points, from a table in this package.

The table was computed once by a sentence transformer, one vocabulary entry at a time, with rare words weighing more
(`monitoring.embedding.build`; `static.json` says from what). Source: Tulkens and van Dongen, "Model2Vec" (2024). Word
order is lost; a text costs about a tenth of a millisecond and no dependency but numpy.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graduand.monitoring.embedding.embedder import MAX_CHARACTERS, Vector
from graduand.monitoring.embedding.wordpiece import WordPiece

TABLE = Path(__file__).parent / "static.npz"


class StaticEmbedder:
    """`table[i] * scale[i]` is the weighted point of vocabulary entry i; int8 (V, d) and float (V,)."""

    name = "static"

    def __init__(
        self, vocabulary: list[str], table: NDArray[np.int8], scale: NDArray[np.float32], digest: str = ""
    ) -> None:
        self.digest = digest
        self._pieces = WordPiece(vocabulary)
        self._table = table
        self._scale = scale

    @classmethod
    def load(cls, path: Path = TABLE) -> "StaticEmbedder":
        """The table in a file that `monitoring.embedding.build` wrote."""
        data = path.read_bytes()
        with np.load(io.BytesIO(data)) as file:
            vocabulary = file["vocabulary"].tobytes().decode().split("\n")
            table, scale = file["table"], file["scale"].astype(np.float32)
        return cls(vocabulary, table, scale, hashlib.sha256(data).hexdigest()[:12])

    def embed(self, text: str) -> Vector:
        """One text's point, float32 (d,)."""
        ids = self._pieces.ids(text[:MAX_CHARACTERS])
        total: Vector = self._scale[ids] @ self._table[ids].astype(np.float32)
        length = float(np.sqrt(total @ total))
        return total / np.float32(length) if length > 0 else total
