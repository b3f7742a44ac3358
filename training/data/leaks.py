"""Leaks: rows to train on that a test set has too, or that belong to somebody in it.

Invariant: fails closed. A leak is an error that names the rows; nothing is dropped to make it go away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graduand.rollout.answers.spelling import identity
from graduand.training.data.near import Index, Sketch, distinctive, sketched, template
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample
from graduand.training.data.split import PARAPHRASE_OF, conversation_of

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Leak:
    """A training row and the test row that it gives away."""

    train: str
    test: str
    why: str
    set: str = ""

    def __str__(self) -> str:
        return f"{self.train} ~ {self.test} in {self.set} ({self.why})"


def leaks(
    train: Sequence[Sample], test: Sequence[Sample], threshold: float, set_name: str = "", *, users: bool = True
) -> list[Leak]:
    """One leak for each training row that has any, by its strongest reason; `users` counts rows of the same user."""
    index, tests, trained = Index(threshold), _sketches(test), _sketches(train)
    shared = template([one.shingles for one in (*tests, *trained)])
    for sketch in tests:
        index.add_sketch(distinctive(sketch, shared))
    ids = {sample.id: sample.id for sample in test}
    texts = {identity(sample.whole): sample.id for sample in test}
    talks = {conversation_of(sample): sample.id for sample in test}
    owners = {sample.user: sample.id for sample in test if users and sample.user is not None}
    found = []
    for sample, sketch in zip(train, trained, strict=True):
        same = texts.get(identity(sample.whole))
        near = [] if same is not None else index.similar_sketch(distinctive(sketch, shared))[:1]
        reasons = (
            ("same id", ids.get(sample.id)),
            ("its paraphrase", ids.get(sample.notes.get(PARAPHRASE_OF, ""))),
            ("same text", same),
            ("same conversation", talks.get(conversation_of(sample))),
            (f"near-duplicate, {near[0].similarity:.2f}" if near else "", test[near[0].one].id if near else None),
            ("same user", owners.get(sample.user) if sample.user is not None else None),
        )
        found += [Leak(sample.id, other, why, set_name) for why, other in reasons if other is not None][:1]
    return found


def _sketches(samples: Sequence[Sample]) -> list[Sketch]:
    return [sketched(sample.whole) for sample in samples]


def all_leaks(
    train: Sequence[Sample], tests: Mapping[str, Sequence[Sample]], threshold: float, *, users: bool = True
) -> list[Leak]:
    """The leaks into each of several test sets."""
    return [leak for name, test in tests.items() for leak in leaks(train, test, threshold, name, users=users)]


def refuse_leaks(
    train: Sequence[Sample], tests: Mapping[str, Sequence[Sample]], threshold: float, *, users: bool = True
) -> None:
    """Raise DataError if a test set leaks into the rows to train on."""
    found = all_leaks(train, tests, threshold, users=users)
    if found:
        raise DataError(
            f"{summary(found)}; take these rows out of training, or split again with `graduand train split`"
        )


def summary(found: Sequence[Leak]) -> str:
    """How many, and the first few by name."""
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    shown = ", ".join(map(str, found[:SHOWN]))
    return f"{len(found)} training rows leak: {shown}{more}"
