"""Gates: evidence that stays valid at every look. One gate a module; each is a constructor, `update(...)` and `log_e`.

Invariant: under its null hypothesis a gate's E = exp(log_e) reaches 1/alpha at any time with probability at most alpha
(Ville's inequality), however often it is looked at. Every field of a gate is plain data, so its state is its fields.
"""

from typing import Protocol

from graduand.gateway.errors import GraduandError


class GateError(GraduandError, ValueError):
    """A gate was built or fed with a value for which its guarantee does not hold; the gate is unchanged."""


class Gate(Protocol):
    """What a decision reads from a gate: its evidence and how many observations it rests on."""

    @property
    def log_e(self) -> float:
        """Natural logarithm of the evidence; 0 with no data."""

    @property
    def n(self) -> int:
        """Observations seen."""


def check_open(name: str, value: float) -> None:
    """Refuse `value` unless it lies strictly between 0 and 1 (NaN does not)."""
    if not 0 < value < 1:
        raise GateError(f"{name} must lie strictly between 0 and 1; it is {value!r}")


def check_floor(p_min: float) -> None:
    """Refuse a lower bound of the probabilities of observations that is none."""
    if not 0 < p_min <= 1:
        raise GateError(f"p_min must lie in (0, 1]; it is {p_min!r}")


def check_drawn(x: float, p: float, p_min: float) -> None:
    """Refuse an observation outside [0, 1], or one whose probability lies below the bound that was promised."""
    if not 0 <= x <= 1:
        raise GateError(f"an observation must lie in [0, 1]; it is {x!r}")
    if not p_min <= p <= 1:
        raise GateError(f"p must lie between p_min = {p_min:g} and 1; it is {p!r}")
