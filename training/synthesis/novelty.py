"""Novelty and diversity of texts. Pure.

A text is new if its ROUGE-L with every other is below a limit, 0.7 as in Self-Instruct (Wang et al., arXiv:2212.10560).
ROUGE-L is the F measure of the longest common subsequence of words (Lin 2004).
"""

import itertools
import re
from collections.abc import Iterable, Sequence

LIMIT = 0.7
WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """A text's words without case."""
    return WORD.findall(text.casefold())


def rouge_l(one: Sequence[str], other: Sequence[str]) -> float:
    """ROUGE-L's F measure of two texts in words, 0 to 1.

    >>> rouge_l(words("the cat sat down"), words("The cat lay down"))
    0.75
    """
    from rapidfuzz.distance import LCSseq  # here, so that the command line starts without it

    return 2 * LCSseq.similarity(one, other) / (len(one) + len(other)) if one or other else 1.0


class Pool:
    """Texts that are all new to each other."""

    def __init__(self, texts: Iterable[str] = (), limit: float = LIMIT) -> None:
        self._limit = limit
        self._words = [words(text) for text in texts]

    def offer(self, text: str) -> float:
        """Take the text in if it is new; its greatest likeness to what was there, 1 for a text without words."""
        found = words(text)
        likest = max((rouge_l(found, other) for other in self._words), default=0.0) if found else 1.0
        if likest < self._limit:
            self._words.append(found)
        return likest


def distinct(texts: Sequence[str], size: int) -> float:
    """Share of the runs of `size` words that are different (distinct-n, Li et al., arXiv:1510.03055).

    >>> distinct(["a b a b", "a b"], 2)
    0.5
    """
    runs = [run for text in texts for run in _runs(words(text), size)]
    return len(set(runs)) / len(runs) if runs else 0.0


def _runs(found: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(found[at : at + size]) for at in range(len(found) - size + 1)]


def mean_likeness(texts: Sequence[str], most: int = 200) -> float:
    """Mean ROUGE-L over the pairs of the first `most` texts: 0 is all different."""
    found = [words(text) for text in texts[:most]]
    pairs = [rouge_l(one, other) for one, other in itertools.combinations(found, 2)]
    return sum(pairs) / len(pairs) if pairs else 0.0
