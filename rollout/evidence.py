"""What a decision looks at: one snapshot of all evidence, taken by the shell at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reading:
    """One gate read: its evidence, how many observations it rests on, when it could last have learnt anything."""

    log_e: float
    n: int
    last_at: float | None
    note: str = ""  # such as "312 of 320 agree (97.5%)", shown in reasons


@dataclass(frozen=True, slots=True)
class Evidence:
    """A snapshot. `attempt` and `entry` say which state it was gathered for; older evidence never advances anything."""

    attempt: int
    entry: int
    precheck: tuple[str, ...] | None = None  # problems found; None while the checks run
    gates: Mapping[str, Reading] = field(default_factory=dict)
    harm: Mapping[str, Reading] = field(default_factory=dict)
    watch: Reading | None = None
    srm: Reading | None = None
    step_n: int = 0  # in this step: pairs while shadowing, else requests that the student answered
    step_last_at: float | None = None
    trips: tuple[str, ...] = ()  # hard trips: reasons to roll back that need no statistics
    lease_held: bool = True
    weights_applied: bool = False  # every worker serves what the state says
    threshold_ready: bool = False  # a valid confidence threshold for a hybrid step exists
