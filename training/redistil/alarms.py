"""Which alarm a re-distillation has still to answer. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any


def unanswered(
    verdicts: Sequence[Mapping[str, Any]], rollouts: Sequence[Mapping[str, Any]], route: str
) -> Mapping[str, Any] | None:
    """The oldest verdict that stands on `route`, unless a rollout there began after it: that is its answer.

    verdicts: as `GET /v1/monitors` lists them, `since` in seconds since 1970; rollouts: as `GET /v1/rollouts` lists them.
    """
    begun = max((float(one["created_at"]) for one in rollouts if one["route"] == route), default=0.0)
    open_ones = [one for one in verdicts if one["route"] == route and float(one["since"]) > begun]
    return min(open_ones, key=lambda one: float(one["since"]), default=None)
