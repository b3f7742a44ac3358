"""A threshold that may be learnt again after every pair: Learn-then-Test with e-processes instead of p-values.

Each cut has its own gate 1 against "agreement at or above the cut is at most 1 - risk"; p_j = 1 / max_t E_j is valid
at every look, so recalibrating continuously spends nothing. The caller starts a new one on drift or for a new adapter.
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from graduand.rollout.gates import betabinomial, check_open


@dataclass(slots=True)
class RunningThreshold:
    """Cuts from the highest down, each with its counts and the highest evidence so far.

    >>> running = RunningThreshold([0.9, 0.5], risk=0.05, delta=0.1)
    >>> for _ in range(200):
    ...     running.update(0.95, disagreed=False)
    ...     running.update(0.6, disagreed=True)
    >>> running.value
    0.9
    """

    cuts: list[float]
    risk: float
    delta: float
    agreed: list[int] = field(default_factory=list)
    disagreed: list[int] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)  # highest log evidence of each cut

    def __post_init__(self) -> None:
        check_open("risk", self.risk)
        check_open("delta", self.delta)
        self.cuts = sorted(self.cuts, reverse=True)
        self.agreed = list(self.agreed) or [0] * len(self.cuts)
        self.disagreed = list(self.disagreed) or [0] * len(self.cuts)
        self.peaks = list(self.peaks) or [0.0] * len(self.cuts)

    def update(self, score: float, *, disagreed: bool) -> None:
        """Learn from one audited or shadowed pair."""
        counts = self.disagreed if disagreed else self.agreed
        for at, cut in enumerate(self.cuts):
            if score >= cut:
                counts[at] += 1
                log_e = betabinomial.log_evidence(self.agreed[at], self.disagreed[at], 1 - self.risk)
                self.peaks[at] = max(self.peaks[at], log_e)

    @property
    def value(self) -> float | None:
        """The lowest proved cut, or None: a cut counts only if all higher ones are proved."""
        best = None
        for cut, peak in zip(self.cuts, self.peaks, strict=True):
            if peak < -math.log(self.delta):
                break
            best = cut
        return best

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for `RunningThreshold(**data)`."""
        return asdict(self)
