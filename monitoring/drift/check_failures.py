"""Check failures: do the student's answers fail their output checks more often than the teacher's?"""

import math
from collections.abc import Sequence

from graduand.monitoring.drift import State, check_promise

MULTIPLES = (1.5, 2.0, 3.0, 5.0, 10.0)
BLOCK = 20
KEPT = 200
# What is believed of the teacher before anything was seen: one failure in a hundred.
PRIOR_FAILED, PRIOR_N = 0.5, 50.0
LEAST, MOST = 1e-4, 0.5


class CheckFailures:
    """e-Shiryaev-Roberts detector on blocks of 20 student answers with what the teacher answered meanwhile.

    For each multiple m a block's e-value is p(student's failures; m t) p(teacher's failures; t) / p(all failures; t0),
    where t is the teacher's rate in earlier blocks and t0 the mean of m t and t over the block's answers. For whatever
    common rate both have, and for any student that fails less, its mean is at most 1: nobody has to know the rate, and
    it may differ from block to block. Alarm when the mean over the multiples of R <- (1 + R) e reaches A / 20, so there
    is at most one false alarm per A answers of the student. Without answers of the teacher nothing is compared
    (`waiting` says so); up to 200 of them are kept for a time when it answers little.

    Turner, Ly, Gruenwald, "Generic e-variables for exact sequential k-sample tests", arXiv:2106.02693; Shin, Ramdas,
    Rinaldo, arXiv:2203.03532.

    >>> detector = CheckFailures(false_alarm_every=10_000)
    >>> any(detector.update(student=n % 2 == 0, failed=n % 50 < 2) for n in range(4000))
    False
    >>> next(n for n in range(1, 999) if detector.update(student=n % 2 == 0, failed=n % 6 == 0))
    80
    """

    def __init__(self, false_alarm_every: float, multiples: Sequence[float] = MULTIPLES) -> None:
        check_promise(false_alarm_every)
        self.threshold = false_alarm_every / BLOCK
        self._multiples = tuple(multiples)
        self._evidence = [0.0] * len(self._multiples)
        self._student: list[bool] = []
        self._teacher: list[bool] = []
        self._failed, self._answers = PRIOR_FAILED, PRIOR_N
        self.value = 0.0
        self.n = 0
        self.alarm = False

    @property
    def waiting(self) -> bool:
        """There are student answers, but none of the teacher to compare them with."""
        return len(self._student) >= BLOCK and not self._teacher

    def update(self, *, student: bool, failed: bool) -> bool:
        """Take one answer's verdict."""
        self.alarm = False
        answers = self._student if student else self._teacher
        answers.append(failed)
        del answers[:-KEPT]
        self.n += student
        if len(self._student) >= BLOCK and self._teacher:
            self._look()
        return self.alarm

    def _look(self) -> None:
        students, teachers = len(self._student), len(self._teacher)
        bad, teacher_bad = sum(self._student), sum(self._teacher)
        rate = min(max(self._failed / self._answers, LEAST), MOST)
        logs = [_log_e(bad, students, teacher_bad, teachers, min(m * rate, 0.95), rate) for m in self._multiples]
        self._evidence = [(1 + r) * math.exp(log) for r, log in zip(self._evidence, logs, strict=True)]
        self.value = sum(self._evidence) / len(self._evidence)
        self.alarm = self.value >= self.threshold
        if self.alarm:
            self._evidence = [0.0] * len(self._multiples)
        self._failed, self._answers = self._failed + teacher_bad, self._answers + teachers
        self._student, self._teacher = [], []

    def state(self) -> State:
        """Evidence and the open block."""
        return {
            "evidence": list(self._evidence), "student": list(self._student), "teacher": list(self._teacher),
            "failed": self._failed, "answers": self._answers, "value": self.value, "n": self.n, "alarm": self.alarm,
        }  # fmt: skip

    def restore(self, state: State) -> None:
        """Go on from there."""
        self._evidence, self._student = list(state["evidence"]), list(state["student"])
        self._teacher, self._failed, self._answers = list(state["teacher"]), state["failed"], state["answers"]
        self.value, self.n, self.alarm = state["value"], state["n"], state["alarm"]


def _log_e(bad: int, students: int, teacher_bad: int, teachers: int, student: float, teacher: float) -> float:
    both = (students * student + teachers * teacher) / (students + teachers)

    def ratio(failures: int, answers: int, rate: float) -> float:
        return failures * math.log(rate / both) + (answers - failures) * math.log((1 - rate) / (1 - both))

    return ratio(bad, students, student) + ratio(teacher_bad, teachers, teacher)
