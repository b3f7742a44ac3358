"""A reference set on disk, beside an adapter's weights: `reference/reference.json` and `reference/reference.npz`.

Invariant: a folder that `read` accepts is whole, and of the embedder that its file names. The adapter's own name does not
change by it: an adapter's digest is over its configuration and weights. No text of any row is written.
"""

import hashlib
import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from graduand.monitoring.drift import DriftError, spreads
from graduand.monitoring.drift.mix import Whitening
from graduand.monitoring.drift.neighbours import Usual
from graduand.monitoring.drift.reference import Reference

FOLDER, ABOUT, POINTS = "reference", "reference.json", "reference.npz"
SCHEMA = 2


def write(reference: Reference, parent: Path, report: dict[str, Any]) -> Path:
    """Write PARENT/reference, replacing one that is there."""
    data = io.BytesIO()
    np.savez_compressed(
        data, points=reference.points, scale=reference.scale, scores=reference.scores,
        usual=np.array([reference.usual.lengths, reference.usual.distances]), mean=reference.whitening.mean,
        directions=reference.whitening.directions, nulls=reference.nulls,
    )  # fmt: skip
    about = {
        "schema": SCHEMA,
        "embedder": {"name": reference.embedder, "digest": reference.embedder_digest},
        "seed": reference.seed,
        "rows": reference.rows,
        "points_sha256": hashlib.sha256(data.getvalue()).hexdigest(),
        "novelty": report,
        "descriptors": spreads.to_json(reference.spreads),
    }
    target = parent / FOLDER
    work = Path(tempfile.mkdtemp(prefix=f".{FOLDER}-", dir=parent))
    try:
        work.chmod(0o755)  # mkdtemp's folders are the owner's alone; servers often run as another user
        (work / POINTS).write_bytes(data.getvalue())
        (work / ABOUT).write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")
        if target.exists():
            shutil.rmtree(target)
        os.replace(work, target)
    except OSError as error:
        raise DriftError(f"cannot write the reference set {target}: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def read(folder: Path) -> Reference:
    """The reference set in `folder`, or in `folder/reference`; raise DriftError if there is none that can be used."""
    place = folder / FOLDER
    try:
        place = folder if (folder / ABOUT).is_file() else place
        text, data = (place / ABOUT).read_bytes(), (place / POINTS).read_bytes()
        about = json.loads(text)
        if about["schema"] != SCHEMA:
            raise DriftError(f"{place} has schema {about['schema']}, not {SCHEMA}; make it again")
        if hashlib.sha256(data).hexdigest() != about["points_sha256"]:
            raise DriftError(f"{place / POINTS} is not the file that {ABOUT} was written with; make it again")
        with np.load(io.BytesIO(data)) as file:
            lengths, distances = (tuple(row.tolist()) for row in file["usual"])
            return Reference(
                about["embedder"]["name"], about["embedder"]["digest"], about["seed"], about["rows"], file["points"],
                file["scale"], Usual(lengths, distances), file["scores"], Whitening(file["mean"], file["directions"]),
                file["nulls"], spreads.from_json(about["descriptors"]), hashlib.sha256(text).hexdigest()[:12],
            )  # fmt: skip
    except FileNotFoundError as error:
        raise DriftError(
            f"there is no reference set at {folder}; make one: graduand train reference --data ROWS --adapter DIR"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DriftError):
            raise
        raise DriftError(f"the reference set {place} cannot be read: {error!r}; make it again") from error
