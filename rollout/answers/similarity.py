"""Likeness of two texts, for drift only: a gate on it would reward copying the teacher's words."""

import re
from collections import Counter

WORD = re.compile(r"\w+")


def overlap(one: str, other: str) -> float:
    """F1 of the words in common (ROUGE-1's F measure), 0 to 1.

    >>> overlap("The cat sat", "the cat slept"), overlap("", "x"), overlap("", "")
    (0.6666666666666666, 0.0, 1.0)
    """
    left, right = (Counter(WORD.findall(text.casefold())) for text in (one, other))
    if not left and not right:
        return 1.0
    common = sum((left & right).values())
    return 2 * common / (left.total() + right.total())
