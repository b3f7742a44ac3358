"""Counts of (teacher's label, student's label), and the measures that follow from them."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Confusion:
    """Agreement beyond chance and by class. Cohen (1960).

    >>> table = Confusion()
    >>> for teacher, student in [("0", "0")] * 90 + [("1", "1")] * 4 + [("1", "0")] * 6:
    ...     table.update(teacher, student)
    >>> table.agreement, round(table.kappa or 0, 3), table.recall("1")
    (0.94, 0.545, 0.4)
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def update(self, teacher: str, student: str) -> None:
        """Count one pair of labels."""
        self.counts[teacher, student] += 1

    @property
    def agreement(self) -> float | None:
        """Share of equal labels; None with no data."""
        total = self.counts.total()
        return sum(n for (one, other), n in self.counts.items() if one == other) / total if total else None

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa; None with no data or a single class on both sides."""
        total, agreement = self.counts.total(), self.agreement
        if agreement is None:
            return None
        teacher, student = Counter[str](), Counter[str]()
        for (one, other), n in self.counts.items():
            teacher[one] += n
            student[other] += n
        chance = sum(teacher[label] * student[label] for label in teacher) / total**2
        return (agreement - chance) / (1 - chance) if chance < 1 else None

    def recall(self, label: str) -> float | None:
        """Of what the teacher calls `label`, the share that the student calls so too."""
        of_teacher = sum(n for (one, _), n in self.counts.items() if one == label)
        return self.counts[label, label] / of_teacher if of_teacher else None
