"""Which parts are too old to be kept: pure, by the day in their key."""

import time
from collections.abc import Iterable, Iterator

DAY_S = 86400


def expired(keys: Iterable[str], now: float, keep_days: int) -> Iterator[str]:
    """The keys of parts whose day ended at least `keep_days` days before `now` (UTC); other keys never.

    >>> list(expired(["dt=1970-01-01/hour=00/route=a/x.parquet"], 2 * 86400.0 - 1, 1))
    []
    >>> list(expired(["dt=1970-01-01/hour=00/route=a/x.parquet"], 2 * 86400.0, 1))
    ['dt=1970-01-01/hour=00/route=a/x.parquet']
    """
    first_kept = time.strftime("%Y-%m-%d", time.gmtime(now - keep_days * DAY_S))
    for key in keys:
        day = next((one.removeprefix("dt=") for one in key.split("/")[:2] if one.startswith("dt=")), None)
        if day is not None and key.endswith(".parquet") and day < first_kept:
            yield key
