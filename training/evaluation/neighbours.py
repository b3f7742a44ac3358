"""The training rows nearest to a text: what a student's mistake may have been learned from. Pure."""

from collections.abc import Sequence

from graduand.training.data.samples import Sample


def nearest(texts: Sequence[str], known: Sequence[Sample], most: int) -> list[list[tuple[Sample, float]]]:
    """For each text the `most` known samples with the greatest cosine by TF-IDF of characters, the nearest first."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not texts or not known:
        return [[] for _ in texts]
    features = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, dtype=np.float32)
    base = features.fit_transform([sample.text or " - " for sample in known])
    alike = (features.transform(texts) @ base.T).toarray()
    best = np.argsort(-alike, axis=1, kind="stable")[:, :most]
    return [[(known[place], float(alike[row, place])) for place in places] for row, places in enumerate(best)]
