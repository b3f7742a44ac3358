"""What a check is: one question to an answer, with a name, and a version that changes when its meaning does.

Invariants: a check takes time that grows with the text no faster than linearly, and looks at a bounded part of it or can
be fed in pieces; what it finds depends on nothing but the choice. Fed in whatever pieces, it finds what it finds in the
whole.
"""

from typing import Protocol

from graduand.monitoring.checks.answer import Choice


class Finding:
    """What a check says of a choice: whether it triggers, what it saw in a fixed word, and how much of it. Never changed."""

    __slots__ = ("label", "score", "triggered")

    def __init__(self, triggered: bool, label: str, score: float) -> None:
        self.triggered = triggered
        self.label = label
        self.score = score


PASS = Finding(False, "pass", 0.0)


def trigger(label: str, score: float = 1.0) -> Finding:
    """A finding that triggers."""
    return Finding(True, label, score)


class Watch(Protocol):
    """One text, as it grows. `reach`: so many characters later, what begins at a character has been seen or is not there.

    Must never be certain of anything but what the check finds in the whole text.
    """

    reach: int

    def feed(self, text: str) -> Finding | None:
        """The next piece; the finding once it is certain, whatever else may come."""


class Check(Protocol):
    """A check. `watch` is None where only a whole answer tells."""

    name: str
    version: str

    def judge(self, choice: Choice) -> Finding:
        """The finding over a whole choice."""

    def watch(self) -> Watch | None:
        """The same check over a text that grows."""
