"""TF-IDF of words and characters with balanced logistic regression: the baseline that every student has to beat.

Word 1-2-grams and character 2-5-grams inside words, sublinear counts; terms seen once are left out. C = 4 was chosen so
that the figures recorded for Jigsaw come out again (docs/training.md). Deterministic: the same rows give the same model.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graduand.training.data.rows import DataError

STRENGTH = 4.0
FEW = 50  # rows below which every term counts, or nothing might be left
PACKAGES = ("scikit-learn", "scipy", "numpy")


@dataclass(frozen=True, slots=True)
class TfIdf:
    """A fitted model; `labels` in the order of the columns of `probabilities`."""

    labels: tuple[str, ...]
    features: Any
    model: Any

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Shape (texts, labels); each row adds up to 1."""
        return np.asarray(self.model.predict_proba(self.features.transform(texts)), np.float64)

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The likeliest label of each text."""
        return [self.labels[place] for place in self.probabilities(texts).argmax(axis=1)]

    def margins(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """How sure it is of each text: the likeliest label's probability less the next one's, 0 to 1."""
        ordered = np.sort(self.probabilities(texts), axis=1)
        return np.asarray(ordered[:, -1] - ordered[:, -2], np.float64)


def fit(texts: Sequence[str], labels: Sequence[str]) -> TfIdf:
    """Learn `labels` from `texts`; raises DataError with fewer than two different labels."""
    if len(set(labels)) < 2:
        raise DataError(
            f"the TF-IDF baseline needs two different labels; {len(labels)} rows have {sorted(set(labels))}"
        )
    features, columns = _features(texts)
    return _fitted(features, columns, labels)


def _features(texts: Sequence[str]) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    least = 2 if len(texts) >= FEW else 1
    shared: dict[str, Any] = {"sublinear_tf": True, "min_df": least, "dtype": np.float32}
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), **shared),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **shared),
    )
    try:
        return features, features.fit_transform(texts).tocsr()
    except ValueError as error:  # nothing but stop marks, or each term only once
        raise DataError(f"the TF-IDF baseline finds no terms in {len(texts)} rows ({error}); add rows") from error


def _fitted(features: Any, columns: Any, labels: Sequence[str]) -> TfIdf:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    model = LogisticRegression(C=STRENGTH, class_weight="balanced", solver="liblinear", max_iter=1000, random_state=0)
    if len(set(labels)) > 2:
        model = OneVsRestClassifier(model)
    model.fit(columns, labels)
    return TfIdf(tuple(str(label) for label in model.classes_), features, model)


@dataclass(frozen=True, slots=True)
class Crossed:
    """Out-of-fold probabilities, shape (rows, labels)."""

    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]


def cross_probabilities(texts: Sequence[str], labels: Sequence[str], folds: int, seed: int) -> Crossed:
    """Each row's probabilities by a model that did not see its label (stratified k-fold; terms are counted over all)."""
    from sklearn.model_selection import StratifiedKFold

    fewest = min(Counter(labels).values(), default=0)
    if fewest < 2 or len(set(labels)) < 2:
        raise DataError("cross-validation needs two labels, and at least two rows of each")
    features, columns = _features(texts)
    names = tuple(sorted(set(labels)))
    out = np.zeros((len(texts), len(names)))
    cut = StratifiedKFold(min(folds, fewest), shuffle=True, random_state=seed)
    for inside, outside in cut.split(columns, labels):
        fitted = _fitted(features, columns[inside], [labels[place] for place in inside])
        out[outside] = fitted.model.predict_proba(columns[outside])
    return Crossed(names, out)
