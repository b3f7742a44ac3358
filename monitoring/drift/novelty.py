"""Novelty: do requests come that are unlike what the student learnt from?"""

from bisect import bisect_left, insort
from collections.abc import Sequence

from graduand.monitoring.drift import DriftError, State, check_promise

BETS = (0.3, 0.5, 0.7, 0.85)
ENOUGH = 5_000
MARGIN = 2.0


class Novelty:
    """Conformal e-detector on `neighbours.scores`; `calibration` are the scores of texts held out, a list for each score.

    p = (1 + #{calibration >= s}) / (n + 1) for each score s; bets e = eps p^(eps - 1), which average at most 1 while
    requests are like the calibration; Shiryaev-Roberts R <- (1 + R) e for each score and eps; alarm when the mean of the
    R reaches 2 A for the promise of at most one false alarm per A requests. The mean of R grows by at most 1 a request
    on average, so no bootstrap is needed.

    From 5,000 calibration points on they are used as they are, and the 2 pays for their being a sample. With fewer, every
    request's scores join them until there are 5,000: under exchangeability a score's p-values are then independent and
    uniform however few points there were, so the promise holds all the same; what is lost is speed, and a drift that is
    there from the first request may be learnt as normal. What joined since the evidence began to rise is thrown out by
    an alarm.

    Vovk, Nouretdinov, Gammerman, "Testing exchangeability on-line" (2003); Shin, Ramdas, Rinaldo, "E-detectors",
    arXiv:2203.03532.

    >>> detector = Novelty([[n / 5000 for n in range(5000)]], false_alarm_every=10_000)
    >>> any(detector.update([n * 37 % 100 / 100]) for n in range(2000))
    False
    >>> next(n for n in range(1, 100) if detector.update([1.0]))
    3
    """

    def __init__(
        self, calibration: Sequence[Sequence[float]], false_alarm_every: float, bets: Sequence[float] = BETS
    ) -> None:
        check_promise(false_alarm_every)
        if not calibration or not calibration[0]:
            raise DriftError("novelty needs at least one calibration score")
        self._given = [sorted(scores) for scores in calibration]
        self._known = [list(scores) for scores in self._given]
        self._learnt: list[list[float]] = []
        self._calm = 0  # how many were learnt when there was no evidence yet
        self._bets = tuple(bets)
        self._evidence = self._none()
        self.threshold = MARGIN * false_alarm_every
        self.value = 0.0
        self.n = 0
        self.alarm = False
        self.p = 1.0  # the smallest of the last request's

    def update(self, x: Sequence[float], *, counts: bool = True) -> bool:
        """Take one request's scores. One that does not count, as a session's later ones, is judged but not bet on."""
        size = len(self._known[0])
        ps = [(1 + size - bisect_left(known, s)) / (size + 1) for known, s in zip(self._known, x, strict=True)]
        self.p, self.alarm = min(ps), False
        self.n += 1
        if not counts:
            return False
        self._evidence = [
            [(1 + r) * eps * p ** (eps - 1) for r, eps in zip(row, self._bets, strict=True)]
            for row, p in zip(self._evidence, ps, strict=True)
        ]
        self.value = sum(map(sum, self._evidence)) / (len(ps) * len(self._bets))
        self.alarm = self.value >= self.threshold
        if self.alarm:
            self._start_over()
        elif size < ENOUGH:
            self._learn(x)
        return self.alarm

    def _start_over(self) -> None:
        self._evidence = self._none()
        del self._learnt[self._calm :]
        self._know()

    def _learn(self, x: Sequence[float]) -> None:
        for known, score in zip(self._known, x, strict=True):
            insort(known, score)
        self._learnt.append(list(x))
        if self.value < 1:
            self._calm = len(self._learnt)

    def _know(self) -> None:
        learnt = zip(*self._learnt, strict=True) if self._learnt else [()] * len(self._given)
        self._known = [sorted([*given, *more]) for given, more in zip(self._given, learnt, strict=True)]

    def _none(self) -> list[list[float]]:
        return [[0.0] * len(self._bets) for _ in self._given]

    def state(self) -> State:
        """All that was learnt since the beginning."""
        return {
            "evidence": [list(row) for row in self._evidence], "value": self.value, "n": self.n, "alarm": self.alarm,
            "p": self.p, "learnt": [list(scores) for scores in self._learnt], "calm": self._calm,
        }  # fmt: skip

    def restore(self, state: State) -> None:
        """Go on from there."""
        self._evidence = [list(row) for row in state["evidence"]]
        self._learnt, self._calm = [list(scores) for scores in state["learnt"]], state["calm"]
        self.value, self.n, self.alarm, self.p = state["value"], state["n"], state["alarm"], state["p"]
        self._know()
