"""Units that have so much of a route's traffic that a comparison of its arms would say what they say. Reads the log."""

import time
from dataclasses import dataclass

from graduand.gateway.errors import GraduandError
from graduand.gateway.logs.reading import Source

SHARE = 0.2
LEAST_REQUESTS = 200
SPAN_S = 86_400.0
# Each rollout salts anew, so a unit is another one there.
HEAVY = """
SELECT route, n, total FROM (
    SELECT route, count(*) AS n, sum(count(*)) OVER (PARTITION BY route, rollout) AS total
    FROM log WHERE role = 'served' AND time > ? AND dt >= ? GROUP BY route, rollout, unit_hash
) WHERE total >= ? AND n > ? * total ORDER BY route, n DESC
"""


@dataclass(frozen=True, slots=True)
class HeavyUnit:
    """A unit with more than `SHARE` of the day's requests on a route; requests that name no unit are one by one."""

    route: str
    requests: int
    of: int


def heavy_units(source: Source, now: float | None = None) -> list[HeavyUnit]:
    """The heavy units of the last day, the heaviest of a route first; none without a log that can be read."""
    from graduand.gateway.logs.query import Log  # brings DuckDB

    since = (time.time() if now is None else now) - SPAN_S
    day = time.strftime("%Y-%m-%d", time.gmtime(since))
    try:
        with Log(source) as log:
            rows = log.query(HEAVY, [since, day, LEAST_REQUESTS, SHARE]).fetchall()
    except (GraduandError, OSError):
        return []
    return [HeavyUnit(route, int(n), int(total)) for route, n, total in rows]
