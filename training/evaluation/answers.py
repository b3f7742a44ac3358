"""A student's answers: text, and for label tasks how sure it was of each label. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graduand.rollout.answers.answers import Label
from graduand.rollout.answers.compare import label_of
from graduand.rollout.answers.tasks import Task


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `shares` are probabilities by label, empty where nobody knows them; `whole` if it ended by itself."""

    text: str
    shares: Mapping[str, float] = field(default_factory=dict)
    whole: bool = True

    def label(self, task: Task) -> str | None:
        """The label that it says; None if it cannot be read or was cut off."""
        if not self.whole:
            return None
        said = label_of(task, self.text)
        return said.value if isinstance(said, Label) else None

    def confidence(self, task: Task) -> float | None:
        """The probability of the label that it says."""
        return self.shares.get(self.label(task) or "")

    def as_json(self) -> dict[str, Any]:
        """For a line of answers.jsonl."""
        return {"answer": self.text, "shares": {label: round(share, 6) for label, share in self.shares.items()}}
