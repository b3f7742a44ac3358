"""Novelty: do requests come that are unlike what the student learnt from?"""

from bisect import bisect_left, insort
from collections.abc import Sequence

from monitoring.drift import DriftError, State, check_promise

BETS = (0.3, 0.5, 0.7, 0.85)
ENOUGH = 5_000
MARGIN = 2.0


class Novelty:
    """Conformal e-detector on distances (`Neighbours.distance`); `calibration` are distances of texts held out.

    p = (1 + #{calibration >= s}) / (n + 1); bets e = eps p^(eps - 1), which average at most 1 while requests are like the
    calibration; Shiryaev-Roberts R <- (1 + R) e for each eps; alarm when the mean of the R reaches 2 A for the promise of
    at most one false alarm per A requests. The mean of R grows by at most 1 a request, so no bootstrap is needed.

    From 5,000 calibration points on they are used as they are, and the 2 pays for their being a sample. With fewer, every
    request's distance joins them until there are 5,000: under exchangeability the p-values are then independent and
    uniform however few points there were, so the promise holds all the same (even 2 A); what is lost is speed, and a
    drift that is there from the first request may be learnt as normal. What joined since the evidence began to rise is
    thrown out by an alarm.

    Vovk, Nouretdinov, Gammerman, "Testing exchangeability on-line" (2003); Shin, Ramdas, Rinaldo, "E-detectors",
    arXiv:2203.03532.

    >>> detector = Novelty([n / 5000 for n in range(5000)], false_alarm_every=10_000)
    >>> any(detector.update(n * 37 % 100 / 100) for n in range(2000))
    False
    >>> next(n for n in range(1, 100) if detector.update(1.0))
    3
    """

    def __init__(self, calibration: Sequence[float], false_alarm_every: float, bets: Sequence[float] = BETS) -> None:
        check_promise(false_alarm_every)
        if not calibration:
            raise DriftError("novelty needs at least one calibration distance")
        self._given = sorted(calibration)
        self._known = list(self._given)
        self._learnt: list[float] = []
        self._calm = 0  # how many were learnt when there was no evidence yet
        self._bets = tuple(bets)
        self._evidence = [0.0] * len(self._bets)
        self.threshold = MARGIN * false_alarm_every
        self.value = 0.0
        self.n = 0
        self.alarm = False
        self.p = 1.0

    def update(self, x: float) -> bool:
        """Take one request's distance."""
        known = self._known
        self.p = (1 + len(known) - bisect_left(known, x)) / (len(known) + 1)
        self._evidence = [(1 + r) * eps * self.p ** (eps - 1) for r, eps in zip(self._evidence, self._bets, strict=True)]
        self.value = sum(self._evidence) / len(self._evidence)
        self.alarm = self.value >= self.threshold
        self.n += 1
        if self.alarm:
            self._evidence = [0.0] * len(self._bets)
            del self._learnt[self._calm :]
            self._known = sorted(self._given + self._learnt)
        elif len(known) < ENOUGH:
            insort(known, x)
            self._learnt.append(x)
            if self.value < 1:
                self._calm = len(self._learnt)
        return self.alarm

    def state(self) -> State:
        """All that was learnt since the beginning."""
        return {
            "evidence": list(self._evidence), "value": self.value, "n": self.n, "alarm": self.alarm, "p": self.p,
            "learnt": list(self._learnt), "calm": self._calm,
        }  # fmt: skip

    def restore(self, state: State) -> None:
        """Go on from there."""
        self._evidence, self._learnt = list(state["evidence"]), list(state["learnt"])
        self.value, self.n, self.alarm, self.p = state["value"], state["n"], state["alarm"], state["p"]
        self._calm = state["calm"]
        self._known = sorted(self._given + self._learnt)
