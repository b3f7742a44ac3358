"""Which logged requests to learn from next: corrections, disagreements and novel inputs first. Pure.

Reads records as `graduand logs export --format raw` writes them: a served request with its `copies` and `feedback`.
Rows that were picked for being hard are no fair picture of the traffic, and neither is what a canary let through, so
each row carries a weight: the inverse of the probability with which it came to be seen (Horvitz and Thompson 1952),
clipped and scaled to a mean of 1. Invariant: no row has an answer that nobody gave, a student's own answer is never
learned, and each record is either chosen, left over, or counted under the reason why it cannot be used.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graduand.gateway.model import reader
from graduand.gateway.model.reader import Payloads
from graduand.rollout.answers.compare import compare
from graduand.rollout.answers.tasks import Task
from graduand.training.data.logs import owner_of
from graduand.training.data.near import Index
from graduand.training.data.rows import DataError, chat
from graduand.training.data.samples import Sample

Reason = Literal["corrected", "disagreed", "disliked", "novel", "sampled"]
ORDER: tuple[Reason, ...] = ("corrected", "disagreed", "disliked", "novel", "sampled")
NOVEL = 0.5  # an input is novel if no known one has a cosine above 1 - NOVEL
NOVEL_P = 0.01  # or if the monitor found at most so many of the usual texts as far from the adapter's training data
MOST_WEIGHT = 20.0
ALIKE = 0.8


@dataclass(frozen=True, slots=True)
class Observed:
    """A served request that can be learned from, or could if a teacher labelled it (`sample.completion` is None)."""

    sample: Sample
    disagreed: bool | None  # None: there are not two answers to compare
    disliked: bool
    probability: float  # with which it came to be seen with this answer
    novelty_p: float | None = None  # what the drift monitor said of it, if one watched


@dataclass(frozen=True, slots=True)
class Chosen:
    """A row to learn from next, and why; the sample's weight is set."""

    sample: Sample
    reason: Reason
    novelty: float

    @property
    def needs_label(self) -> bool:
        """Whether a teacher must be asked first."""
        return self.sample.completion is None


def observe(record: Mapping[str, Any], task: Task | None, audit: float) -> Observed | str:
    """What one record shows, or the reason why it shows nothing. `audit` is the share of the student's answers that a
    teacher was asked about as well."""
    if record.get("role") != "served":
        return "a copy: it is read with the request that it copies"
    feedback = record.get("feedback") or {}
    correction = feedback.get("correction")
    by_arm = _answers(record)
    teacher, student = by_arm.get("teacher"), by_arm.get("student")
    if record.get("arm") == "student" and teacher is None and record.get("status") != 200 and not correction:
        return "not answered"
    try:
        sample = _sample(record, correction or teacher, bool(correction), by_arm)
    except (DataError, ValueError, KeyError, TypeError) as error:
        return f"no prompt to train on: {error}"
    both = teacher is not None and student is not None and task is not None
    found = compare(task, teacher or "", student or "") if both and task is not None else None
    return Observed(
        sample, found.agreed is False if found else None, _disliked(feedback), _probability(record, by_arm, audit),
        (record.get("drift") or {}).get("novelty_p"),
    )  # fmt: skip


def _sample(record: Mapping[str, Any], completion: str | None, corrected: bool, by_arm: Mapping[str, str]) -> Sample:
    request = reader.request(_payloads(record, record))
    known: dict[str, Any] = {
        "completion": completion,
        "gold": completion if corrected else None,
        "answers": dict(by_arm),
        "user": owner_of(record.get("unit_hash"), request),
        "source": "logs",
    }
    if "messages" in request:
        return Sample(str(record["id"]), messages=chat(request["messages"]), **known)
    if not isinstance(request["prompt"], str) or not request["prompt"]:
        raise DataError("the prompt is no text")
    return Sample(str(record["id"]), prompt=request["prompt"], **known)


def _answers(record: Mapping[str, Any]) -> dict[str, str]:
    """The whole answers of both arms, the served one first."""
    found: dict[str, str] = {}
    for entry in (record, *(record.get("copies") or [])):
        text = _answer(entry, record)
        if text is not None:
            found.setdefault(str(entry.get("arm")), text)
    return found


def _answer(entry: Mapping[str, Any], record: Mapping[str, Any]) -> str | None:
    """A whole answer's text; None if it broke off, failed or holds no text."""
    if entry.get("completed") is not True or entry.get("error"):
        return None
    found = reader.answered(_payloads(record, entry))
    return found.text if found is not None and found.text and found.finish == "stop" else None


def _payloads(record: Mapping[str, Any], entry: Mapping[str, Any]) -> Payloads:
    """What `record` was asked, and what `entry` of it answered."""
    return {
        "request_json": record.get("request_json"),
        "response_json": entry.get("response_json"),
        "endpoint": record.get("endpoint") or "",
    }


def _disliked(feedback: Mapping[str, Any]) -> bool:
    score, label = feedback.get("score"), str(feedback.get("label") or "")
    return (isinstance(score, int | float) and score < 0) or label in ("thumbs_down", "bad", "wrong")


def _probability(record: Mapping[str, Any], by_arm: Mapping[str, str], audit: float) -> float:
    """Of the arm that it fell into, of being kept, and for a student's request of a teacher being asked as well."""
    seen = float(record.get("arm_probability") or 1.0) * float(record.get("sampling_prob") or 1.0)
    return seen * audit if record.get("arm") == "student" and "teacher" in by_arm and audit > 0 else seen


def weights(probabilities: Sequence[float]) -> list[float]:
    """Inverse probabilities, clipped at MOST_WEIGHT times the least of them, with a mean of 1.

    >>> weights([1.0, 1.0, 0.5])
    [0.75, 0.75, 1.5]
    """
    if not probabilities:
        return []
    if min(probabilities) <= 0 or max(probabilities) > 1:
        raise ValueError("probabilities must be above 0 and at most 1")
    inverse = np.array([1 / each for each in probabilities])
    clipped = np.minimum(inverse, MOST_WEIGHT * inverse.min())
    return [float(each) for each in clipped / clipped.mean()]


def effective_rows(found: Sequence[float]) -> float:
    """How many equally weighted rows carry as much: (sum w)^2 / sum w^2 (Kish 1965).

    >>> effective_rows([1.0, 1.0, 1.0, 1.0]), effective_rows([4.0, 0.0001, 0.0001, 0.0001]) < 1.01
    (4.0, True)
    """
    return sum(found) ** 2 / sum(each * each for each in found) if found else 0.0


def novelty(texts: Sequence[str], known: Sequence[str]) -> list[float]:
    """For each text 1 less its greatest cosine with a known one, by TF-IDF of its words and characters; 0 to 1."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not texts or not known:
        return [1.0] * len(texts)
    features = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, dtype=np.float32)
    try:
        base = features.fit_transform([*known, *texts])
    except ValueError:  # no text has a term
        return [1.0] * len(texts)
    old, new = base[: len(known)], base[len(known) :]
    nearest: list[NDArray[np.float32]] = [
        np.asarray((new[first : first + 256] @ old.T).max(axis=1).todense()).ravel()
        for first in range(0, len(texts), 256)
    ]
    return [float(min(1.0, max(0.0, 1 - each))) for each in np.concatenate(nearest)]


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows chosen, most useful first, and what became of the others."""

    chosen: list[Chosen]
    unusable: Counter[str]
    alike: int  # left out because a chosen row is nearly the same
    left_over: int


def select(found: Iterable[Observed | str], known: Sequence[Sample], most: int, sampled: float, seed: int) -> Selection:
    """At most `most` rows. The share `sampled` of them is drawn at random whatever they are, so that the student does not
    forget the ordinary; the rest goes by reason, the most novel first. `known` are the rows that it learned from."""
    usable: list[Observed] = []
    unusable: Counter[str] = Counter()
    for each in found:
        if isinstance(each, str):
            unusable[each] += 1
        else:
            usable.append(each)
    new = novelty([each.sample.text for each in usable], [sample.text for sample in known])
    ranked = sorted(range(len(usable)), key=lambda place: _rank(usable[place], new[place], seed))
    drawn = sorted(range(len(usable)), key=lambda place: _draw(usable[place].sample.id, seed))
    index, alike = Index(ALIKE), set[int]()
    taken: dict[int, Reason] = {}
    for order, limit in ((drawn, int(most * sampled)), (ranked, most)):
        for place in order:
            if len(taken) >= limit or place in taken or place in alike:
                continue
            if index.similar(usable[place].sample.text):
                alike.add(place)
                continue
            index.add(usable[place].sample.text)
            taken[place] = reason_of(usable[place], new[place])
    share = dict(zip(taken, weights([usable[place].probability for place in taken]), strict=True))
    chosen = [
        Chosen(replace(usable[place].sample, weight=share[place]), taken[place], new[place])
        for place in ranked
        if place in taken
    ]
    return Selection(chosen, unusable, len(alike), len(usable) - len(taken) - len(alike))


def reason_of(each: Observed, new: float) -> Reason:
    """The strongest reason to learn from a row."""
    if each.sample.gold is not None:
        return "corrected"
    if each.disagreed:
        return "disagreed"
    if each.disliked:
        return "disliked"
    # The adapter that was watched may be an older one: what a known row is nearly the same as has been learned since.
    strange = each.novelty_p is not None and each.novelty_p <= NOVEL_P and new > 1 - ALIKE
    return "novel" if new >= NOVEL or strange else "sampled"


def _rank(each: Observed, new: float, seed: int) -> tuple[int, float, bytes]:
    return ORDER.index(reason_of(each, new)), -new, _draw(each.sample.id, seed)


def _draw(identity: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{identity}".encode()).digest()
