"""`label`: the answer is one of the task's labels, as rollouts read it (rollout.answers.answers), aliases included."""

from collections.abc import Mapping

from graduand.monitoring.checks.answer import Choice
from graduand.monitoring.checks.check import PASS, Finding, Watch, trigger
from graduand.rollout.answers.answers import LEAD, Label, parse_label
from graduand.rollout.answers.spelling import plain

# What is longer is no label, and no object with one; it would take long to read.
LONGEST = 2_000
LONGEST_OBJECT = 20_000
# 'The final classification is:' and the like have ended by then, blanks counted once.
LEAD_ENDS = 48
NO_LABEL = trigger("no_label")


class LabelSet:
    """Triggers on what is no label. `labels` maps the identities of spellings to labels; `field` is the object's that holds it.

    >>> check = LabelSet({"yes": "yes", "no": "no"}, None)
    >>> check.judge(Choice("Answer: Yes.")).label, check.judge(Choice("maybe")).label
    ('pass', 'no_label')
    """

    name = "label"
    version = "1"

    def __init__(self, labels: Mapping[str, str], field: str | None) -> None:
        self._labels = dict(labels)
        self._field = field
        self._most = LONGEST if field is None else LONGEST_OBJECT
        # The spelling that nearly every answer has: looked up before anything is taken apart.
        self._plain = frozenset(() if field is not None else (*labels, *labels.values()))
        self.longest = max(map(len, self._labels))

    def judge(self, choice: Choice) -> Finding:
        """An answer that calls a tool instead has no label."""
        text = choice.text
        if text in self._plain:
            return PASS
        if len(text) > self._most:
            return NO_LABEL
        return PASS if isinstance(parse_label(text, self._labels, self._field), Label) else NO_LABEL

    def watch(self) -> Watch | None:
        """Certain once more was said than any label has; an object only tells when it is whole."""
        return None if self._field is not None else _Rambling(self)


class _Rambling:
    """Whether the text can still become a label."""

    def __init__(self, check: LabelSet) -> None:
        self._longest = check.longest
        self.reach = check.longest + LEAD_ENDS + 2
        self._text = ""

    def feed(self, text: str) -> Finding | None:
        self._text += text
        if len(self._text) > LONGEST:
            return NO_LABEL
        begun = self._text.lstrip()
        if begun.startswith("`"):  # a fence: what is in it shows when it is closed
            return None
        said = " ".join(begun.split())
        if len(said) <= self._longest + LEAD_ENDS:
            return None
        return NO_LABEL if len(plain(LEAD.sub("", said))) > self._longest else None
