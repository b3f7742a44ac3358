"""The most frequent label, whatever the text."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Majority:
    """Always says `label`."""

    label: str

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The same for each text."""
        return [self.label] * len(texts)


def fit(labels: Sequence[str]) -> Majority:
    """Learn which label is the most frequent; of equals, the first in the alphabet.

    >>> fit(["b", "a", "b"])
    Majority(label='b')
    """
    return Majority(min(Counter(labels).items(), key=lambda item: (-item[1], item[0]))[0])
