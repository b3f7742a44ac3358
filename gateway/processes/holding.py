"""Which segments the rollouts' controller and the drift monitor still need, for the shipper that would delete them.

A segment is needed while a rollout that is alive has not read it to its end, or a pair's first half in it waits for the
other; and, for an hour at most, until the monitor has read it. When the store cannot be asked, everything is needed.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from graduand.gateway.logs.shipper import Shipped
from graduand.gateway.logs.tail import PAIR_WITHIN_S, SLACK_S
from graduand.gateway.monitor import store as monitor
from graduand.gateway.state.hashes import StateError

if TYPE_CHECKING:
    from graduand.gateway.control.store.rollouts import Rollouts

# A rollout that starts in this moment looks a little into the past.
FRESH_S = 2 * SLACK_S
# A monitor that was turned off never reads on.
MONITOR_WITHIN_S = 3600.0
LOOK_BYTES = 1 << 16


class Holding:
    """Asks the store that `open_store` opens."""

    def __init__(
        self, spool: Path, open_store: Callable[[], "Rollouts"], clock: Callable[[], float] = time.time
    ) -> None:
        self._spool = spool
        self._open = open_store
        self._clock = clock

    def done_with(self, segments: Iterable[Path]) -> set[str]:
        """The names of those segments that nobody will read any more; raise StateError if that cannot be known."""
        old = [one for one in segments if one.stat().st_mtime < self._clock() - FRESH_S]
        if not old:
            return set()
        try:
            old = [one for one in old if not self._monitor_needs(one)]
            store = self._open()
            try:
                return self._of(old, store)
            finally:
                store.close()
        except sqlite3.Error as error:
            raise StateError(f"the state cannot be read: {error}") from error

    def forget(self, names: Iterable[str]) -> None:
        """These segments are gone: where reading stopped in them need not be known any more."""
        gone = list(names)
        if not gone:
            return
        store = self._open()
        try:
            with store.transaction():
                store.write_gone(gone)
        except StateError:  # rows that are left over do no harm
            pass
        finally:
            store.close()

    def shipped(self, parts: Sequence[Shipped]) -> None:
        """The target has these: the controller writes it down as evidence of the rollouts whose records they hold."""
        store = self._open()
        try:
            with store.transaction():  # a short one: this process gives way to all others, even while it holds the lock
                store.write_shipped(parts)
        finally:
            store.close()

    def _monitor_needs(self, segment: Path) -> bool:
        offsets = monitor.read_to(self._spool)
        recent = segment.stat().st_mtime > self._clock() - MONITOR_WITHIN_S
        return offsets is not None and recent and offsets.get(segment.name, 0) < whole_bytes(segment)

    def _of(self, segments: list[Path], store: "Rollouts") -> set[str]:
        live = store.live()
        if not live:
            return {one.name for one in segments}
        since = min(row.started_at for row in live) - SLACK_S
        offsets, waiting = store.read_to(), store.waiting_files(self._clock() - PAIR_WITHIN_S)
        return {
            one.name
            for one in segments
            if one.name not in waiting
            and (
                offsets.get(one.name, 0) >= whole_bytes(one)
                or (one.name not in offsets and one.stat().st_mtime < since)
            )
        }


def whole_bytes(path: Path) -> int:
    """Where a file's last whole line ends."""
    with path.open("rb") as file:
        at = file.seek(0, 2)
        while at > 0:
            start = max(0, at - LOOK_BYTES)
            file.seek(start)
            found = file.read(at - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            at = start
    return 0
