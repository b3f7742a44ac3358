"""Detectors of change, one a file, in River's manner: `update(x)` takes one observation and says whether it raised an alarm.

All have `alarm` (the last update raised one), `value` and `threshold` (an alarm is value >= threshold), `n` (observations),
`state()` (plain JSON data) and `restore(state)`: restored, a detector goes on bit by bit as if it had never stopped. After
an alarm a detector starts over, so that one change is one alarm, and a lasting change some more. Pure: no I/O, no clock.

What a detector promises is the number of observations between false alarms (`false_alarm_every`), never a p-value of one
look: with a fixed threshold somebody who looks often enough always finds something.
"""

from collections.abc import Mapping
from typing import Any

from graduand.gateway.errors import GraduandError

State = Mapping[str, Any]


class DriftError(GraduandError, ValueError):
    """A detector cannot work with what it was given."""


def check_promise(false_alarm_every: float) -> None:
    """Refuse a promise that no detector can make."""
    if not false_alarm_every >= 100:
        raise DriftError(f"false_alarm_every is {false_alarm_every}: give at least 100 requests between false alarms")
