"""Parts of a test set by what can be seen of a row: a mean hides a slice on which a student fails. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

from graduand.training.data.samples import Sample
from graduand.training.data.scores import wilson

LEAST_ROWS = 5
Slicer = Callable[[Sample], str | None]


def length_of(samples: Sequence[Sample]) -> Slicer:
    """Short, middling or long by thirds of these samples' characters."""
    ordered = sorted(len(sample.text) for sample in samples)
    low, high = (ordered[len(ordered) * part // 3] for part in (1, 2))

    def slicer(sample: Sample) -> str:
        size = len(sample.text)
        return "length: short" if size < low else "length: long" if size >= high else "length: middling"

    return slicer


def accuracies(samples: Sequence[Sample], gold: Sequence[str], right: Sequence[bool]) -> list[dict[str, Any]]:
    """Accuracy with its interval for each slice of at least LEAST_ROWS rows: by gold label, length and source."""
    by_length = length_of(samples)
    parts: dict[str, list[bool]] = {}
    for sample, label, was_right in zip(samples, gold, right, strict=True):
        source = f"source: {sample.source}" if sample.source else None
        for name in (f"gold: {label}", by_length(sample), source):
            if name is not None:
                parts.setdefault(name, []).append(was_right)
    found = []
    for name, each in sorted(parts.items()):
        if len(each) >= LEAST_ROWS:
            low, high = wilson(sum(each), len(each))
            found.append(
                {"slice": name, "rows": len(each), "accuracy": sum(each) / len(each), "low": low, "high": high}
            )
    return found
