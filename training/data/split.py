"""Splits: frozen test sets and the rest, with no group in two places.

A group is what belongs together: a conversation, a user, near-duplicates, and whatever is joined by a chain of these.
Invariant: each sample is in exactly one part and so is each group; the same samples and seed give the same parts,
whatever the samples' order. Must never fill a test set with fewer rows than asked for.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from graduand.training.data.near import Groups, near_pairs
from graduand.training.data.rows import DataError
from graduand.training.data.samples import Sample

JOINS = ("conversation", "user", "near")
PARAPHRASE_OF = "paraphrase_of"  # the note that names a paraphrase's original
INDIST, BALANCED, VALID, TRAIN = "test.indist", "test.balanced", "valid", "train"
# A group that fills more of a test set than this stays in training: its rows are not independent of each other.
MOST_OF_A_TEST = 0.05
SMALL_GROUP = 5  # always fits, if there is room


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows wanted: in distribution, balanced (for each label), and for early stopping."""

    indist: int
    per_label: int
    valid: int = 0


@dataclass(frozen=True, slots=True)
class Split:
    """Parts by name, and how the samples hang together."""

    parts: Mapping[str, list[Sample]]
    groups: int
    largest_group: int


def conversation_of(sample: Sample) -> str:
    """The conversation that it names, else how it begins: later turns repeat the first ones."""
    if sample.conversation is not None:
        return f"named {sample.conversation}"
    if sample.messages is None:
        return sample.prompt_sha256
    first = next((at for at, message in enumerate(sample.messages) if message["role"] == "user"), len(sample.messages))
    return hashlib.sha256(orjson.dumps(sample.messages[: first + 1])).hexdigest()


def grouped(samples: Sequence[Sample], joins: Sequence[str], threshold: float) -> list[list[int]]:
    """The samples' places in groups."""
    groups = Groups(len(samples))
    places = {sample.id: place for place, sample in enumerate(samples)}
    for place, sample in enumerate(samples):  # a paraphrase is always its original's
        original = places.get(sample.notes.get(PARAPHRASE_OF, ""))
        if original is not None:
            groups.join(original, place)
    if "conversation" in joins:
        groups.join_equal(map(conversation_of, samples))
    if "user" in joins:
        groups.join_equal(sample.user for sample in samples)
    if "near" in joins:
        for pair in near_pairs([sample.whole for sample in samples], threshold):
            groups.join(pair.one, pair.other)
    return groups.all()


def split(
    samples: Sequence[Sample], labels: Sequence[str], sizes: Sizes, seed: int, joins: Sequence[str], threshold: float
) -> Split:
    """Cut `samples`, whose labels are `labels`, into test sets, a validation set and the rest."""
    order = sorted(range(len(samples)), key=lambda place: samples[place].id)
    samples, labels = [samples[place] for place in order], [labels[place] for place in order]
    groups = grouped(samples, joins, threshold)
    groups.sort(key=lambda group: _shuffled(samples[group[0]].id, seed))
    taken: dict[str, list[int]] = {}
    left = groups
    for name, wanted in _wanted(labels, sizes):
        taken[name], left = _fill(left, labels, wanted, name)
    taken[TRAIN] = sorted(place for group in left for place in group)
    parts = {name: [samples[place] for place in sorted(places)] for name, places in taken.items()}
    return Split(parts, len(groups), max(map(len, groups), default=0))


def _shuffled(identity: str, seed: int) -> bytes:
    """A place in a random order that does not depend on what else there is."""
    return hashlib.sha256(f"{seed}/{identity}".encode()).digest()


def _wanted(labels: Sequence[str], sizes: Sizes) -> list[tuple[str, dict[str, int]]]:
    """What each part needs: rows by label, or under "" whatever their label is."""
    parts = [
        (INDIST, {"": sizes.indist}),
        (BALANCED, dict.fromkeys(sorted(set(labels)), sizes.per_label)),
        (VALID, {"": sizes.valid}),
    ]
    return [(name, wanted) for name, wanted in parts if sum(wanted.values())]


def _fill(
    groups: list[list[int]], labels: Sequence[str], wanted: dict[str, int], name: str
) -> tuple[list[int], list[list[int]]]:
    """Whole groups, in their order, until the part is exactly full; returns its places and the groups left."""
    most = max(SMALL_GROUP, int(sum(wanted.values()) * MOST_OF_A_TEST))
    missing = dict(wanted)
    taken: list[int] = []
    left: list[list[int]] = []
    for group in groups:
        needs = Counter("" if "" in wanted else labels[place] for place in group)
        if len(group) <= most and all(missing[label] >= count for label, count in needs.items()):
            taken += group
            for label, count in needs.items():
                missing[label] -= count
        else:
            left.append(group)
    short = {label or "any label": count for label, count in missing.items() if count}
    if short:
        lacking = ", ".join(f"{count} more rows of {label}" for label, count in short.items())
        raise DataError(
            f"{name} needs {lacking} in groups of at most {most}: ask for fewer, add rows, or join by less (--join)"
        )
    return taken, left


def around(
    samples: Sequence[Sample], tests: Mapping[str, Sequence[Sample]], joins: Sequence[str], threshold: float
) -> tuple[list[Sample], list[str]]:
    """The samples that share no group with test sets frozen earlier, and the ids of those that do."""
    frozen = [sample for part in tests.values() for sample in part]
    together = [*frozen, *samples]
    touched = {
        place
        for group in grouped(together, joins, threshold)
        if group[0] < len(frozen)
        for place in group
        if place >= len(frozen)
    }
    known = {sample.id for sample in frozen}
    touched |= {place for place in range(len(frozen), len(together)) if together[place].id in known}
    free = [together[place] for place in range(len(frozen), len(together)) if place not in touched]
    return free, [together[place].id for place in sorted(touched)]
