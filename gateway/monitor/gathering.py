"""A route's reference set made of its own log: the prompts of the first answers that its teacher gave.

For routes whose adapter brings none (`monitors: {reference: {from_log: N}}`). Made once and kept beside the log's segments;
only the prompts still being gathered are texts, and these go when it is made. Never replaces a set that is there.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from graduand.gateway.model.fields import Record
from graduand.gateway.model.monitors import Monitors
from graduand.gateway.model.routing import TEACHER
from graduand.gateway.monitor import observed
from graduand.gateway.monitor.store import MonitorStore
from graduand.monitoring.drift import DriftError, files
from graduand.monitoring.drift.prompts import Prompt
from graduand.monitoring.drift.reference import LEAST_ROWS, Reference, build, calibration_report, too_few
from graduand.monitoring.drift.spreads import HOUR_S, Seen
from graduand.monitoring.embedding.named import load

FOLDER = "references"
EMBEDDER = "static"

logger = logging.getLogger("graduand")


def look(spool: Path, store: MonitorStore, route: str, monitors: Monitors) -> tuple[Reference | None, str, int]:
    """The route's set, made as soon as there is enough of the log; else why there is none, and of how many to make it."""
    enough = monitors.from_log
    try:
        found, count = there(spool, route), store.count_gathered(route)
        if found is None and not whole(store, route, monitors):
            spread = f", spread over {monitors.days} days" if monitors.days else ""
            return (
                None,
                f"a reference set is being gathered: {count:,} of {enough:,} answers of the teacher{spread}",
                enough,
            )
        if found is None:
            heard = store.gathered(route, enough)
            prompts, seen = [prompt for prompt, _ in heard], [one for _, one in heard]
            if problem := too_few(prompts):
                store.forget_gathered(route)
                return None, f"{problem}; the next {enough:,} answers of the teacher are gathered", enough
            promise = max(one.false_alarm_every for one in monitors.on.values())
            found = make(spool, route, prompts, seen, promise)
    except DriftError as error:
        return None, str(error), 0
    store.forget_gathered(route)
    return found, "", 0


def whole(store: MonitorStore, route: str, monitors: Monitors) -> bool:
    """Whether enough is gathered: as many as were asked for, or what so many days had, if that is enough for a set."""
    count = store.count_gathered(route)
    if not monitors.days:
        return count >= monitors.from_log
    return count >= LEAST_ROWS and store.gathered_over(route) >= 24 * HOUR_S * monitors.days - HOUR_S


def place(spool: Path, route: str) -> Path:
    """Where a route's set is; deleting it has another one made."""
    return spool / FOLDER / quote(route, safe="")


def there(spool: Path, route: str) -> Reference | None:
    """The route's set, once it is made; raises DriftError if it cannot be read."""
    folder = place(spool, route)
    return files.read(folder) if (folder / files.FOLDER).exists() else None


def wanted(record: Record) -> Prompt | None:
    """The prompt of an answer that the teacher gave a client whole; None of everything else."""
    if record["arm"] != TEACHER or not record["completed"] or record["error"]:
        return None
    return observed.prompt(record)


def make(
    spool: Path, route: str, prompts: Sequence[Prompt], seen: Sequence[Seen], false_alarm_every: float
) -> Reference:  # fmt: skip
    """Make the route's set of these prompts, in their order; raise DriftError if it cannot be written."""
    made = build(prompts, load(EMBEDDER), seen=seen)
    folder = place(spool, route)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DriftError(f"cannot make {folder} for a reference set: {error}") from error
    written = files.write(made, folder, calibration_report(made, false_alarm_every))
    logger.info(
        "the reference set of route %s was made of its first %d answers of the teacher: %s", route, made.rows, written
    )
    return files.read(folder)
