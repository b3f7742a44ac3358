"""How much each row counts in the loss. Pure.

Where classes are rare, a student that always says the frequent one has a small loss: `balanced` weighs each completion
so that all that occur count the same in sum, as scikit-learn's `class_weight="balanced"` does. On the article's comments
that is worth more than any other setting (docs/training.md). Invariant: the mean weight is 1, so the rate keeps its
meaning.
"""

from collections import Counter
from collections.abc import Sequence

from graduand.training.data.rows import DataError, Row

MOST_CLASSES = 100


def of_rows(rows: Sequence[Row], class_weight: str) -> list[float]:
    """Each row's own weight, times its class's if `class_weight` is `balanced`.

    >>> of_rows([Row("1", "no"), Row("2", "no"), Row("3", "no"), Row("4", "yes")], "balanced")
    [0.6666666666666666, 0.6666666666666666, 0.6666666666666666, 2.0]
    """
    found = [row.weight for row in rows]
    if class_weight == "balanced":
        of_class = _of_classes([row.completion for row in rows], found)
        found = [weight * of_class[row.completion] for weight, row in zip(found, rows, strict=True)]
    mean = sum(found) / len(found)
    return [weight / mean for weight in found]


def _of_classes(completions: Sequence[str], weights: Sequence[float]) -> dict[str, float]:
    mass: Counter[str] = Counter()
    for completion, weight in zip(completions, weights, strict=True):
        mass[completion] += weight  # type: ignore[assignment]
    if len(mass) > MOST_CLASSES or len(mass) > max(2, len(completions) // 2):
        raise DataError(
            f"class_weight: balanced is for labels, and {len(completions)} rows have {len(mass)} different completions; "
            "leave it out"
        )
    return {completion: 1 / total for completion, total in mass.items()}
