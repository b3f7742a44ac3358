"""`truncated`: the answer was cut at a limit of tokens (`finish_reason: length`)."""

from graduand.monitoring.checks.answer import Choice
from graduand.monitoring.checks.check import PASS, Finding, Watch, trigger

LENGTH = trigger("length")


class Truncated:
    """Triggers on `finish_reason: length`, whoever set the limit.

    >>> Truncated().judge(Choice("to be contin", "length")).label
    'length'
    """

    name = "truncated"
    version = "1"

    def judge(self, choice: Choice) -> Finding:
        """The upstream's own word is taken for it."""
        return LENGTH if choice.finish == "length" else PASS

    def watch(self) -> Watch | None:
        """Only the end tells."""
        return None
