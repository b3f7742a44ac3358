"""`not_empty`: the answer says something, calls a tool, or refuses in so many words."""

from graduand.monitoring.checks.answer import Choice
from graduand.monitoring.checks.check import PASS, Finding, Watch, trigger

EMPTY = trigger("empty")


class NotEmpty:
    """Triggers on a choice without anything to read.

    >>> NotEmpty().judge(Choice(" ")).label
    'empty'
    """

    name = "not_empty"
    version = "1"

    def judge(self, choice: Choice) -> Finding:
        """Blanks alone are nothing."""
        text = choice.text
        if text and not text.isspace():
            return PASS
        return PASS if choice.arguments or choice.refusal or choice.shows else EMPTY

    def watch(self) -> Watch | None:
        """Only the end tells."""
        return None
