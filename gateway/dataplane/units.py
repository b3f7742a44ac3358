"""Whom a request is for, and whether one unit is too much of a route's traffic to be compared with the rest."""

from typing import Any

from graduand.gateway.model.routes import METADATA_USER, Unit

# A unit with more than this part of the traffic decides alone what a comparison of arms says, wherever it falls.
HEAVY_SHARE = 0.2
# Fewer requests say nothing about shares.
LEAST_REQUESTS = 200
# From so many on, what came before counts half: traffic changes.
WINDOW_REQUESTS = 50_000
COUNTED = 100

# A member of the request, or a header's name where that is not empty.
Source = tuple[str, bytes]


def sources_of(unit: Unit) -> tuple[Source, ...]:
    """Where a route's unit is looked for, in this order."""
    return tuple(
        ("", one.removeprefix("header:").encode()) if one.startswith("header:") else (one, b"") for one in unit.order
    )


def unit_of(sources: tuple[Source, ...], data: dict[str, Any], headers: dict[bytes, bytes]) -> str | None:
    """The first of these that the request names; None if it names none."""
    for member, header in sources:
        if header:
            value = headers.get(header)
            if value:
                return value.decode("latin-1")
            continue
        if member == METADATA_USER:
            metadata = data.get("metadata")
            said = metadata.get("user_id") if type(metadata) is dict else None
        else:
            said = data.get(member)
        if type(said) is str and said:
            return said
    return None


class Shares:
    """Which units have much of a route's traffic, by at most `COUNTED` counts (Misra and Gries, 1982).

    A count is never too high, and too low by at most one hundredth of all requests: a unit that is called heavy is heavy,
    and one with 21% is always found.
    """

    __slots__ = ("_counts", "_total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._total = 0

    def saw(self, unit: int) -> bool:
        """Count a request of this unit (its hash); whether the unit has more than `HEAVY_SHARE` of the traffic."""
        self._count()
        counts = self._counts
        count = counts.get(unit, 0) + 1
        if count > 1 or len(counts) < COUNTED:
            counts[unit] = count
        else:
            self._counts = {one: n - 1 for one, n in counts.items() if n > 1}
            return False
        return self._total >= LEAST_REQUESTS and count > HEAVY_SHARE * self._total

    def saw_nobody(self) -> None:
        """Count a request that names no unit."""
        self._count()

    def _count(self) -> None:
        self._total += 1
        if self._total >= WINDOW_REQUESTS:
            self._total //= 2
            # Rounded down, so that no count is too high.
            self._counts = {one: n // 2 for one, n in self._counts.items() if n > 1}
