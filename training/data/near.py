"""Near-duplicates by MinHash over character shingles, each candidate checked by its exact Jaccard similarity.

Source: Broder, "On the resemblance and containment of documents" (1997); LSH by datasketch. Invariant: a pair that is
returned really is as similar as asked for; one that is left out was missed with the probability that LSH has at the
threshold (what nearly all texts share, a system prompt or a few-shot template, says nothing about two of them and is left out;
equal texts, by rollout.answers.spelling, are never missed).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mmh3
import numpy as np
from numpy.typing import NDArray

from graduand.gateway.errors import ConfigError
from graduand.rollout.answers.spelling import identity

WIDTH = 5  # characters a shingle: short enough for chat messages, long enough that common words do not make pairs
PERMUTATIONS = 128
SCHEME = "affine32"  # datasketch's name of how it permutes; hash values of two schemes cannot be compared
MARKS = dict.fromkeys(map(ord, '.,;!?"…“”„。！？，、'))

# A template stands in nearly all of at least so many texts, and is more than a turn of phrase.
LEAST_TEXTS, SHARED_BY, LEAST_SHARED = 20, 0.9, 40

Shingles = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two places with similar texts."""

    one: int
    other: int
    similarity: float


def shingles(text: str) -> Shingles:
    """Hashes of the text's pieces of WIDTH characters, sorted and without repetition. The marks that part sentences are left
    out: a text with other commas is still like itself. Signs and symbols are not, nor is a text of nothing but marks."""
    plain = _bare(text)
    pieces = {plain[at : at + WIDTH] for at in range(max(1, len(plain) - WIDTH + 1))}
    return np.unique(np.fromiter((mmh3.hash(piece, signed=False) for piece in pieces), np.uint32, len(pieces)))


def _bare(text: str) -> str:
    known = identity(text)
    return " ".join(known.translate(MARKS).split()) or known


def jaccard(one: Shingles, other: Shingles) -> float:
    """Size of what is common over the size of all.

    >>> jaccard(shingles("the same text"), shingles("The same text."))
    1.0
    """
    common = np.intersect1d(one, other, assume_unique=True).size
    return float(common / (one.size + other.size - common))


@dataclass(frozen=True, slots=True)
class Sketch:
    """What a text's likes are found by: its shingles, and PERMUTATIONS least hashes of them."""

    shingles: Shingles
    minhash: NDArray[np.uint32]


def sketched(text: str) -> Sketch:
    """The text's sketch."""
    return _sketch(shingles(text))


def _sketch(found: Shingles) -> Sketch:
    try:
        from datasketch import MinHash
    except ImportError as error:
        raise _missing() from error
    sketch = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=int, scheme=SCHEME)
    sketch.update_batch(found.tolist())
    return Sketch(found, sketch.hashvalues)


def _missing() -> ConfigError:
    return ConfigError("near-duplicates need datasketch: pip install 'graduand[training]'")


class Index:
    """Texts that can be asked for those similar to another; places are counted from 0."""

    def __init__(self, threshold: float) -> None:
        try:
            from datasketch import MinHashLSH
        except ImportError as error:
            raise _missing() from error
        self._threshold = threshold
        # Missing a pair is worse than checking one more: every candidate is verified anyway.
        self._lsh = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, weights=(0.1, 0.9))
        self._sets: list[Shingles] = []

    def __len__(self) -> int:
        return len(self._sets)

    def add(self, text: str) -> list[Pair]:
        """Put a text in; returns its pairs with those that were there before, the most similar first."""
        return self.add_sketch(sketched(text))

    def add_sketch(self, sketch: Sketch) -> list[Pair]:
        """The same for a text whose sketch is known."""
        place = len(self._sets)
        pairs = self._pairs(place, sketch)
        self._sets.append(sketch.shingles)
        self._lsh.insert(place, _hashes(sketch))
        return pairs

    def similar(self, text: str) -> list[Pair]:
        """Its pairs with the texts that are there; it is not put in, and its own place is -1."""
        return self.similar_sketch(sketched(text))

    def similar_sketch(self, sketch: Sketch) -> list[Pair]:
        """The same for a text whose sketch is known."""
        return self._pairs(-1, sketch)

    def _pairs(self, place: int, sketch: Sketch) -> list[Pair]:
        near = self._lsh.query(_hashes(sketch))
        pairs = [Pair(other, place, jaccard(self._sets[other], sketch.shingles)) for other in near]
        return sorted(
            (pair for pair in pairs if pair.similarity >= self._threshold),
            key=lambda pair: (-pair.similarity, pair.one),
        )


def _hashes(sketch: Sketch) -> Any:
    from datasketch import LeanMinHash

    return LeanMinHash(seed=1, hashvalues=sketch.minhash, scheme=SCHEME)


def template(sets: Sequence[Shingles]) -> Shingles:
    """The shingles that nearly all of so many texts share; none where there are few texts, or little is shared."""
    if len(sets) < LEAST_TEXTS:
        return np.empty(0, np.uint32)
    found, counts = np.unique(np.concatenate(sets), return_counts=True)
    shared: Shingles = found[counts >= SHARED_BY * len(sets)]
    return shared if shared.size >= LEAST_SHARED else shared[:0]


def template_text(text: str, shared: Shingles) -> str:
    """The longest piece of the text's identity that is made of shared shingles, to name a template by."""
    plain, known = _bare(text), set(shared.tolist())
    best, began = "", -1
    for at in range(len(plain) - WIDTH + 1):
        if mmh3.hash(plain[at : at + WIDTH], signed=False) not in known:
            began = -1
            continue
        began = at if began < 0 else began
        if at + WIDTH - began > len(best):
            best = plain[began : at + WIDTH]
    return best


def distinctive(sketch: Sketch, shared: Shingles) -> Sketch:
    """The sketch of what is not in the template; of a text that is nothing else, as it was."""
    left = np.setdiff1d(sketch.shingles, shared, assume_unique=True)
    return sketch if left.size in (0, sketch.shingles.size) else _sketch(left)


def near_pairs(texts: Sequence[str], threshold: float) -> Iterator[Pair]:
    """Enough pairs of similar texts that groups can be joined from them: equal texts are paired with the first only."""
    return sketched_pairs([identity(text) for text in texts], lambda place: sketched(texts[place]), threshold)


def sketched_pairs(plain: Sequence[str], sketch: Callable[[int], Sketch], threshold: float) -> Iterator[Pair]:
    """`near_pairs` of texts whose identities are known and that, unless an earlier one is equal, are sketched elsewhere."""
    first: dict[str, int] = {}
    for place, text in enumerate(plain):
        first.setdefault(text, place)
    sketches = {place: sketch(place) for place in first.values()}
    shared = template([one.shingles for one in sketches.values()])
    places: list[int] = []
    index = Index(threshold)
    for place, text in enumerate(plain):
        if first[text] != place:
            yield Pair(first[text], place, 1.0)
            continue
        places.append(place)
        for pair in index.add_sketch(distinctive(sketches[place], shared)):
            yield Pair(places[pair.one], place, pair.similarity)


class Groups:
    """Union-find over `count` places (Tarjan 1975)."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def join(self, one: int, other: int) -> None:
        """Put two places, and all that is joined with them, into one group."""
        left, right = self.of(one), self.of(other)
        self._above[max(left, right)] = min(left, right)

    def of(self, place: int) -> int:
        """The group's lowest place."""
        while self._above[place] != place:
            self._above[place] = self._above[self._above[place]]
            place = self._above[place]
        return place

    def join_equal(self, keys: Iterable[str | None]) -> None:
        """Join the places whose keys are equal; None joins nothing."""
        first: dict[str, int] = {}
        for place, key in enumerate(keys):
            if key is not None:
                self.join(first.setdefault(key, place), place)

    def all(self) -> list[list[int]]:
        """Every group, its places ascending, in the order of their first places."""
        groups: dict[int, list[int]] = {}
        for place in range(len(self._above)):
            groups.setdefault(self.of(place), []).append(place)
        return list(groups.values())
