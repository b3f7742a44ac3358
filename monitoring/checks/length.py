"""`max_length`: the answer has no more characters than the route allows."""

from graduand.monitoring.checks.answer import Choice
from graduand.monitoring.checks.check import PASS, Finding, Watch, trigger

TOO_LONG = trigger("too_long")


class MaxLength:
    """Triggers on a text longer than `characters`.

    >>> MaxLength(3).judge(Choice("four")).label
    'too_long'
    """

    name = "max_length"
    version = "1"

    def __init__(self, characters: int) -> None:
        self.characters = characters

    def judge(self, choice: Choice) -> Finding:
        """Counts the text only, not the arguments of tools."""
        return TOO_LONG if len(choice.text) > self.characters else PASS

    def watch(self) -> Watch | None:
        """Certain as soon as there is one character too many."""
        return _Counting(self.characters)


class _Counting:
    def __init__(self, left: int) -> None:
        self.reach = 0
        self._left = left

    def feed(self, text: str) -> Finding | None:
        self._left -= len(text)
        return TOO_LONG if self._left < 0 else None
