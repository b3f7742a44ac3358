"""Gate 4 (harm): of the requests that both were asked, does the student alone fail more often than the teacher alone?"""

from dataclasses import dataclass, field

from graduand.rollout.gates import GateError
from graduand.rollout.gates.constant_bets import ConstantBets, stored

# So many units are told by name; a unit that failed more often than all others is always among them.
NAMED = 16


@dataclass(slots=True)
class OneSided:
    """Evidence that more than `ratio` first one-sided failures are the student's for each of the teacher's.

    A one-sided failure is a request that exactly one of the two failed, both by the same definition and at their first
    attempt. Only the first of each unit is evidence, once for the life of this gate: failures of one unit come together,
    and a unit that counts again each day breaks alpha. Null: the conditional chance that such a first failure is the
    student's is at most ratio / (1 + ratio). E is McNemar's test made sequential by a mixture of 25 constant bets. McNemar
    (1947); Waudby-Smith and Ramdas, arXiv:2010.09686.

    The claim is about *the share of units whose first one-sided failure is the student's*. It does not see a rate that sits
    in few units, so every request is counted beside it (`requests`), and `apart` says when the two counts differ.

    >>> gate = OneSided(ratio=1.25)
    >>> for unit in range(40):
    ...     gate.update(unit, student=True, teacher=False, first=True)
    >>> gate.log_e > 6
    True
    """

    ratio: float = 1.0
    students: int = 0  # first one-sided failures
    teachers: int = 0
    both: int = 0  # requests that both failed: no evidence
    units: ConstantBets = field(default=None)  # type: ignore[assignment]  # made from `ratio`
    requests: ConstantBets = field(default=None)  # type: ignore[assignment]
    often: dict[str, int] = field(
        default_factory=dict
    )  # one-sided failures of the student, of the units that have most

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1e6:
            raise GateError(f"a ratio must lie above 0; it is {self.ratio!r}")
        bound = self.ratio / (1 + self.ratio)
        self.units = ConstantBets(bound) if self.units is None else stored(self.units)
        self.requests = ConstantBets(bound) if self.requests is None else stored(self.requests)
        self.often = dict(self.often)

    def update(self, unit: int, *, student: bool, teacher: bool, first: bool) -> None:
        """Count one request that both were asked; `first` says whether this is the unit's first one-sided failure."""
        self.both += student and teacher
        if student == teacher:
            return
        self.requests.update(float(student))
        if student:
            self._name(f"{unit:x}")
        if first:
            self.units.update(float(student))
            self.students += student
            self.teachers += teacher

    @property
    def n(self) -> int:
        """Units with a one-sided failure."""
        return self.units.n

    @property
    def log_e(self) -> float:
        """Log evidence."""
        return self.units.log_e

    def apart(self, log_threshold: float) -> str:
        """Why the counts by unit and by request cannot both be believed; empty where they agree.

        Failures of few units are no evidence about units, and many units' first failures are none about requests. Whoever
        reads this holds the step: a person has to look at the units.
        """
        by_unit, by_request = self.units.log_e >= log_threshold, self.requests.log_e >= log_threshold
        said = (
            f"{self.students} of {self.units.n} units failed first with the student, and "
            f"{self.requests.total:.0f} of {self.requests.n} requests failed with the student only"
        )
        if by_request and not by_unit:
            most = sorted(self.often.items(), key=lambda item: -item[1])[:3]
            named = ", ".join(f"{unit} ({count} times)" for unit, count in most)
            return f"the student's failures sit in few units: {said}; most often {named}"
        if by_unit and self.requests.mean <= self.requests.p0:
            return f"more units fail with the student, but not more requests: {said}"
        return ""

    def _name(self, unit: str) -> None:
        """Misra and Gries (1982): what makes up more than one in NAMED + 1 of all is never lost."""
        if unit in self.often or len(self.often) < NAMED:
            self.often[unit] = self.often.get(unit, 0) + 1
            return
        self.often = {one: count - 1 for one, count in self.often.items() if count > 1}
