"""Several teachers' labels as one: by vote, or by a chain that asks the next teacher only where it must. Pure.

Invariant: what could not be read has no vote, and a tie is `Unparsed`; no label is made up to break it.
"""

from collections import Counter
from collections.abc import Sequence

from graduand.rollout.answers.answers import Label, Unparsed

Answer = Label | Unparsed


def vote(answers: Sequence[Answer]) -> Answer:
    """The label that most teachers gave.

    >>> vote([Label("1"), Label("0"), Label("1")])
    Label(value='1')
    >>> vote([Label("1"), Label("0"), Unparsed("empty")])
    Unparsed(reason='a tie: 1, 0')
    """
    counts = Counter(answer.value for answer in answers if isinstance(answer, Label))
    if not counts:
        return _unread(answers)
    first, *others = counts.most_common(2)
    if others and others[0][1] == first[1]:
        return Unparsed(f"a tie: {', '.join(label for label, count in counts.items() if count == first[1])}")
    return Label(first[0])


def chain(answers: Sequence[Answer], agree: int) -> Answer | None:
    """The first label that `agree` teachers gave; None while the next teacher in the chain should be asked.

    >>> chain([Unparsed("empty")], 1), chain([Unparsed("empty"), Label("0")], 1), chain([Label("0"), Label("1")], 2)
    (None, Label(value='0'), None)
    """
    counts: Counter[str] = Counter()
    for answer in answers:
        if isinstance(answer, Label):
            counts[answer.value] += 1
            if counts[answer.value] >= agree:
                return answer
    return None


def chain_end(answers: Sequence[Answer], agree: int) -> Answer:
    """What stands when no teacher is left to be asked."""
    decided = chain(answers, agree)
    if decided is not None:
        return decided
    labels = [answer.value for answer in answers if isinstance(answer, Label)]
    return Unparsed(f"no {agree} teachers agree: {', '.join(labels)}") if labels else _unread(answers)


def _unread(answers: Sequence[Answer]) -> Unparsed:
    reasons = dict.fromkeys(answer.reason for answer in answers if isinstance(answer, Unparsed))
    return Unparsed("; ".join(reasons) or "nobody was asked")
