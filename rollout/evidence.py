"""What a decision looks at: one snapshot of all evidence, taken by the shell at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reading:
    """One gate read: its evidence, how many observations it rests on, when it could last have learnt anything."""

    log_e: float
    n: int
    last_at: float | None
    note: str = ""  # such as "97.5% of 320 sessions of 212 users", shown in reasons
    means: tuple[float, ...] = ()  # of whole cycles
    apart: str = ""  # why counts by unit and by request cannot both be believed
    spent: bool = False  # it has seen all that it will see in this step


@dataclass(frozen=True, slots=True)
class Evidence:
    """A snapshot. `attempt` and `entry` say which state it was gathered for; older evidence never advances anything."""

    attempt: int
    entry: int
    precheck: tuple[str, ...] | None = None  # problems found; None while the checks run
    gates: Mapping[str, Reading] = field(default_factory=dict)  # of this step's path, at the last whole cycle
    harm: Mapping[str, Reading] = field(default_factory=dict)
    watch: Reading | None = None
    srm: Reading | None = None
    path: Reading | None = None  # whether copies and served answers agree equally often
    futile: Mapping[str, Reading] = field(default_factory=dict)  # that a gate's mean is below its bound
    cycles: int = 0  # whole ones without a hold in this step
    differ: str = ""  # how this step's cycles differ, if that is no chance
    step_n: int = 0  # in this step: pairs while shadowing, else requests that the student answered
    step_last_at: float | None = None
    trips: tuple[str, ...] = ()  # hard trips: reasons to roll back that need no statistics
    lease_held: bool = True
    weights_applied: bool = False  # every worker serves what the state says
    threshold_ready: bool = False  # a valid confidence threshold for a hybrid step exists
