"""Gate 3: is the new student better, or worse, than the incumbent student on the same requests?"""

from dataclasses import dataclass

from graduand.rollout.gates import betabinomial, check_open


@dataclass(slots=True)
class Discordant:
    """Evidence that the new student wins more than `p0` of the pairs on which the two students differ.

    A pair is discordant if exactly one of the two agrees with the teacher. Null: the new one's share of wins among
    discordant pairs is at most p0 (with `harm`: at least p0); p0 = 1/2 asks for "better", less for "not much worse".
    Concordant pairs carry no information and are only counted. This is McNemar's test made sequential by the mixture of
    gate 1. McNemar (1947); Howard et al., arXiv:1810.08240.

    >>> gate = Discordant()
    >>> for _ in range(10):
    ...     gate.update(new=True, incumbent=False)
    ...     gate.update(new=True, incumbent=True)
    >>> gate.log_e > 3.0, gate.n
    (True, 20)
    """

    p0: float = 0.5
    harm: bool = False
    wins: int = 0
    losses: int = 0
    concordant: int = 0

    def __post_init__(self) -> None:
        check_open("p0", self.p0)

    def update(self, *, new: bool, incumbent: bool) -> None:
        """Count one request that both students and the teacher answered: did each agree with the teacher?"""
        if new == incumbent:
            self.concordant += 1
        elif new:
            self.wins += 1
        else:
            self.losses += 1

    @property
    def n(self) -> int:
        """Requests seen, concordant ones too."""
        return self.wins + self.losses + self.concordant

    @property
    def log_e(self) -> float:
        """Log evidence."""
        if self.harm:
            return betabinomial.log_evidence(self.losses, self.wins, 1 - self.p0)
        return betabinomial.log_evidence(self.wins, self.losses, self.p0)
