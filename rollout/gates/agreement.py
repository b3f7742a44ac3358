"""Gate 1: does the student agree with the teacher often enough?"""

from dataclasses import dataclass

from graduand.rollout.gates import betabinomial, check_open


@dataclass(slots=True)
class Agreement:
    """Evidence that agreement exceeds `p0`; with `harm`, evidence that it falls short of `p0`.

    Null: every conditional mean of agreement is at most p0 (with `harm`: at least p0). E is the Beta-binomial mixture
    of `betabinomial.log_evidence`; the harm form is the same with agreements and disagreements, and p0 and 1 - p0,
    swapped. Howard et al., arXiv:1810.08240.

    >>> gate = Agreement(p0=0.95)
    >>> for _ in range(100):
    ...     gate.update(True)
    >>> gate.log_e > 3.0
    True
    >>> harm = Agreement(p0=0.95, harm=True)
    >>> for agreed in [True] * 80 + [False] * 20:
    ...     harm.update(agreed)
    >>> harm.log_e > 6.9
    True
    """

    p0: float
    harm: bool = False
    agreed: int = 0
    disagreed: int = 0

    def __post_init__(self) -> None:
        check_open("p0", self.p0)

    def update(self, agreed: bool) -> None:
        """Count one pair."""
        if agreed:
            self.agreed += 1
        else:
            self.disagreed += 1

    @property
    def n(self) -> int:
        """Pairs seen."""
        return self.agreed + self.disagreed

    @property
    def log_e(self) -> float:
        """Log evidence."""
        if self.harm:
            return betabinomial.log_evidence(self.disagreed, self.agreed, 1 - self.p0)
        return betabinomial.log_evidence(self.agreed, self.disagreed, self.p0)

    def band(self, alpha: float = 0.05) -> tuple[float, float]:
        """Anytime-valid confidence band for the agreement, for display.

        >>> [round(edge, 2) for edge in Agreement(0.95, agreed=190, disagreed=10).band()]
        [0.89, 0.99]
        """
        return betabinomial.band(self.agreed, self.disagreed, alpha)
