"""What traffic looks like: how broad the inputs are, how precise the outputs. Pure.

Invariant: every figure says of how many rows it is; an answer that cannot be read is counted, never guessed.
"""

import math
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from graduand.rollout.answers.answers import Unparsed, parse_object
from graduand.rollout.answers.compare import label_of
from graduand.rollout.answers.spelling import identity, plain
from graduand.rollout.answers.tasks import Task
from graduand.training.data.near import near_pairs
from graduand.training.data.samples import Sample

Kind = Literal["label", "json", "text"]
WORD = re.compile(r"\w+")
MOST_LABELS = 30
NEAR = 0.8
MOST_COMPARED = 5000  # rows looked at for near-duplicates


@dataclass(frozen=True, slots=True)
class Inputs:
    """How broad the inputs are."""

    rows: int
    distinct: int  # texts that differ in more than case, blanks and punctuation
    near_duplicates: float  # share of the distinct texts that are like an earlier one
    users: int
    median_words: float
    p95_words: float
    unseen_words: float  # share of the last fifth's words that the rest has never: 0 is a narrow, closed world


@dataclass(frozen=True, slots=True)
class Outputs:
    """How precise the outputs are."""

    kind: Kind
    rows: int
    readable: float
    distinct: int
    entropy_bits: float  # of the labels, the objects' field names, or the texts
    largest_share: float
    median_words: float
    p95_words: float
    labels: dict[str, int]
    unread: dict[str, int]


def as_json(facts: Inputs | Outputs) -> dict[str, Any]:
    """Facts as figures."""
    return asdict(facts)


def of_inputs(samples: Sequence[Sample]) -> Inputs:
    """The breadth of `samples`, which are in the order in which they were asked."""
    texts = [sample.text for sample in samples]
    words = [WORD.findall(text.casefold()) for text in texts]
    every = dict.fromkeys(identity(sample.whole) for sample in samples)
    distinct = list(every)[:MOST_COMPARED]
    like = {pair.other for pair in near_pairs(distinct, NEAR)}
    cut = len(words) * 4 // 5
    known = {word for line in words[:cut] for word in line}
    late = [word for line in words[cut:] for word in line]
    return Inputs(
        rows=len(samples),
        distinct=len(every),
        near_duplicates=len(like) / len(distinct) if distinct else 0.0,
        users=len({sample.user for sample in samples if sample.user is not None}),
        median_words=statistics.median(map(len, words)),
        p95_words=percentile([len(line) for line in words], 0.95),
        unseen_words=sum(word not in known for word in late) / len(late) if late else 0.0,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of `values` do not exceed (nearest rank).

    >>> percentile([5, 1, 4, 2, 3], 0.95)
    5.0
    """
    ordered = sorted(values)
    return float(ordered[max(0, math.ceil(share * len(ordered)) - 1)])


def kind_of(answers: Sequence[str]) -> Kind:
    """What the answers are, where no task says it: few short spellings, objects, or free text.

    >>> kind_of(["Yes.", "no", "yes"] * 10), kind_of(['{"a": 1}', '{"a": 2}'])
    ('label', 'json')
    """
    objects = sum(not isinstance(parse_object(answer), Unparsed) for answer in answers)
    if objects >= 0.9 * len(answers):
        return "json"
    counts = Counter(map(plain, answers))
    common = sum(count for _, count in counts.most_common(MOST_LABELS))
    few = len(counts) <= max(2, len(answers) // 5)
    return "label" if few and common >= 0.95 * len(answers) else "text"


def of_outputs(answers: Sequence[str], task: Task | None) -> Outputs:
    """The precision of raw answers; with a task, of its labels."""
    kind: Kind = "label" if task is not None else kind_of(answers)
    read, unread = _read(answers, task, kind)
    counts = Counter(read)
    words = [len(WORD.findall(answer)) for answer in answers]
    return Outputs(
        kind=kind,
        rows=len(answers),
        readable=len(read) / len(answers),
        distinct=len(counts),
        entropy_bits=entropy_bits(counts),
        largest_share=max(counts.values(), default=0) / max(1, len(read)),
        median_words=statistics.median(words),
        p95_words=percentile(words, 0.95),
        labels=dict(counts.most_common(MOST_LABELS)) if kind == "label" else {},
        unread=dict(Counter(unread).most_common(5)),
    )


def _read(answers: Sequence[str], task: Task | None, kind: Kind) -> tuple[list[str], list[str]]:
    """What is counted of each answer, and the reasons why others have nothing to count."""
    read, unread = [], []
    for answer in answers:
        found = spelled(answer, task, kind)
        if isinstance(found, Unparsed):
            unread.append(found.reason)
        else:
            read.append(found)
    return read, unread


def spelled(answer: str, task: Task | None, kind: Kind) -> str | Unparsed:
    """The label; for objects, their fields' names; for texts, the text."""
    if task is not None:
        label = label_of(task, answer)
        return label if isinstance(label, Unparsed) else label.value
    if kind == "json":
        found = parse_object(answer)
        return found if isinstance(found, Unparsed) else ", ".join(sorted(found))
    return plain(answer) or Unparsed("empty")


def entropy_bits(counts: Counter[str]) -> float:
    """Shannon's entropy.

    >>> entropy_bits(Counter(a=2, b=2)), entropy_bits(Counter(a=5))
    (1.0, 0.0)
    """
    total = counts.total()
    return -sum(n / total * math.log2(n / total) for n in counts.values()) + 0.0 if total else 0.0
