"""A student's reference set: what detectors must know of its training prompts to tell when traffic is unlike them.

Made once from the rows that the adapter was trained on, and kept beside its weights. Holds points and counts, never a
text. Rows are split by a seed: references that distances are measured to, and calibration rows that say which distances
are usual.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graduand.monitoring.drift import DriftError, mix
from graduand.monitoring.drift.describe import describe
from graduand.monitoring.drift.mix import Whitening
from graduand.monitoring.drift.neighbours import Neighbours, Usual, scores
from graduand.monitoring.drift.novelty import ENOUGH, Novelty
from graduand.monitoring.drift.prompts import Prompt
from graduand.monitoring.drift.spreads import Seen, Spreads, spreads
from graduand.monitoring.embedding.embedder import Embedder

LEAST_ROWS = 64
REFERENCES, MOST_REFERENCES, MOST_CALIBRATION = 1_000, 2_000, 10_000
SPLITS = 20

Points = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """`points` int8 (R, d) times `scale` (R,) are the reference points; `usual` their distances by length; `scores`
    (2, n) of the calibration rows; `nulls` are T^2 of windows without a change, sorted; `spreads` of all rows. `embedder`
    and `embedder_digest` made the points: no other may measure distances to them."""

    embedder: str
    embedder_digest: str
    seed: int
    rows: int
    points: NDArray[np.int8]
    scale: NDArray[np.float32]
    usual: Usual
    scores: NDArray[np.float32]
    whitening: Whitening
    nulls: NDArray[np.float64]
    spreads: Spreads
    digest: str = ""

    def neighbours(self) -> Neighbours:
        """Distances to the reference points."""
        return Neighbours(unpacked(self.points, self.scale))


def too_few(prompts: Sequence[Prompt]) -> str:
    """Why no reference set can be made of these prompts; empty if one can. Of the same text again and again there is none:
    whatever else came would be infinitely unusual."""
    different = len({one.text for one in prompts})
    if different >= LEAST_ROWS:
        return ""
    return f"{len(prompts):,} prompts, {different} of them different, are too few for a reference set; it needs {LEAST_ROWS}"


def build(prompts: Sequence[Prompt], embedder: Embedder, seed: int = 0, seen: Sequence[Seen] = ()) -> Reference:
    """The reference set of these training prompts; at most 12,000 of them, drawn by the seed, are looked at. `seen` says of
    each when it was asked and by whom, if that is known."""
    if problem := too_few(prompts):
        raise DriftError(problem)
    rng = np.random.default_rng(seed)
    references, calibration = _split(rng.permutation(len(prompts)))
    texts = [one.text for one in prompts]
    points, scale = packed(np.stack([embedder.embed(texts[index]) for index in references]))
    near = Neighbours(unpacked(points, scale))
    usual = near.usual(np.array([len(texts[index]) for index in references]))
    held_out = np.stack([embedder.embed(texts[index]) for index in calibration])
    lengths = [len(texts[index]) for index in calibration]
    found = [scores(near, usual, point, length) for point, length in zip(held_out, lengths, strict=True)]
    whitening = mix.whitening(unpacked(points, scale))
    return Reference(
        embedder.name, embedder.digest, seed, len(prompts), points, scale, usual,
        np.array(found, dtype=np.float32).T, whitening, mix.null_windows(whitening.apply(held_out), rng),
        spreads([describe(one.text, one.system) for one in prompts], seen, seed),
    )  # fmt: skip


def _split(order: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Half are references, up to 1,000; once 5,000 are left to calibrate by, up to 2,000."""
    count = len(order)
    references = max(min(count // 2, REFERENCES), min(count - ENOUGH, MOST_REFERENCES))
    return order[:references], order[references : references + MOST_CALIBRATION]


def packed(points: Points) -> tuple[NDArray[np.int8], Points]:
    """Rows as int8 and a scale each."""
    scale = (np.abs(points).max(axis=1) / 127).astype(np.float32)
    safe = np.where(scale > 0, scale, 1)
    return np.clip(np.rint(points / safe[:, None]), -127, 127).astype(np.int8), scale


def unpacked(points: NDArray[np.int8], scale: Points) -> Points:
    """The rows that `packed` had, nearly, and of length 1 again."""
    rows = points.astype(np.float32) * scale[:, None]
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def calibration_report(reference: Reference, false_alarm_every: float) -> dict[str, Any]:
    """What novelty promises with this reference set, and how that held on rows it was not calibrated by.

    Twenty times the calibration rows are shuffled and halved: one half calibrates, the other is the traffic.
    """
    rng = np.random.default_rng(reference.seed)
    found = reference.scores.astype(np.float64)
    count = found.shape[1]
    seen = alarms = 0
    for _ in range(SPLITS):
        order = rng.permutation(count)
        detector = Novelty(found[:, order[: count // 2]].tolist(), false_alarm_every)
        stream = found[:, order[count // 2 :]].T.tolist()
        alarms += sum(detector.update(one) for one in stream)
        seen += len(stream)
    return {
        "promised_requests_between_false_alarms": false_alarm_every,
        "held_out": {"requests": seen, "alarms": alarms, "alarms_promised_at_most": round(seen / false_alarm_every, 1)},
        "references": len(reference.points),
        "calibration": count,
        "guarantee": guarantee(count),
        "distance": {f"p{q}": round(float(np.percentile(found[0], q)), 4) for q in (5, 50, 95, 99)},
    }


def guarantee(calibration: int) -> str:
    """What the number of calibration rows means for the promise, in a sentence."""
    if calibration >= ENOUGH:
        return f"{calibration} calibration rows are enough: they are used as they are"
    return (
        f"{calibration} calibration rows are fewer than {ENOUGH}: the promise is kept by learning from the first "
        f"{ENOUGH - calibration} requests as well, so drift is found later, and one that is there from the first "
        "request may be taken for normal"
    )
