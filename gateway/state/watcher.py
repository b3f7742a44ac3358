"""Tells a worker that the route table has changed, from a thread that looks at the state store a few times a second.

The data plane itself never touches the store. While the store cannot be read the last table stays in force; a worker that
starts then serves by the copy of this replica's last table, and without one everything by the teacher. The thread also
tells the store which table the worker has come to serve by: a rollback is over when every worker serves weight 0.
"""

import logging
import threading
import time
from collections.abc import Callable

from graduand.gateway.errors import GraduandError
from graduand.gateway.model.routes import RouteTable, Settings
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.open import open_state
from graduand.gateway.state.places import with_places
from graduand.gateway.state.store import StateStore

LOOK_EVERY_S = 0.1

logger = logging.getLogger("graduand")


class TableWatcher:
    """Calls `changed` (in the watching thread) with every new table; `first` reads the first one at once.

    `problem` says why the store cannot be read, and is empty while it can; `age_s` since when.
    """

    def __init__(self, settings: Settings, changed: Callable[[RouteTable], None], worker: str = "") -> None:
        self._settings = settings
        self._routes = settings.routes
        self._changed = changed
        self._seen: object = None
        self._worker = worker
        self._served = self._told = -1
        self._told_at = 0.0
        self._read_at = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="table-watcher", daemon=True)
        self._meanwhile = "the last route table stays in force"
        self.problem = ""

    @property
    def age_s(self) -> float:
        """Seconds since the store was last read."""
        return time.monotonic() - self._read_at

    @property
    def warning(self) -> str:
        """The problem in words for everybody: no address of the store is among them."""
        return f"the state store cannot be read, {self._meanwhile}; the log says why" if self.problem else ""

    def first(self) -> RouteTable:
        """Read the table now, or what stands in for it while the store is away; then begin to watch."""
        store = open_state(self._settings)
        try:
            mark = store.mark()
            if self._worker:
                store.serves(self._worker, -1)  # before it reads: whoever waits for all workers waits for this one too
            table = with_places(store.table(self._routes), store)
            store.keep()
            self._seen = mark
        except StateError as error:
            last = store.last_known(self._routes)
            if last is None:
                raise
            table = last
            if not table.version:
                self._meanwhile = "until it was the teacher answers everything"
            self._cannot(error)
        finally:
            store.close()
        self._served = table.version
        self._thread.start()
        return table

    def serves(self, version: int) -> None:
        """The worker serves by this version from now on; called by the worker."""
        self._served = version

    def configure(self, settings: Settings) -> None:
        """Take over the routes of a reloaded configuration."""
        self._routes = settings.routes
        self._seen = None

    def stop(self) -> None:
        """Stop watching."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        store: StateStore | None = None
        while not self._stopping.wait(LOOK_EVERY_S):
            try:
                store = store or open_state(self._settings)
                self._look(store)
                self._read_at = time.monotonic()
                if self.problem:
                    logger.info("the state store can be read again")
                self.problem = ""
                self._meanwhile = "the last route table stays in force"
            except GraduandError as error:
                self._cannot(error)
        self._leave(store)

    def _look(self, store: StateStore) -> None:
        if self._seen is None:
            store.found()
        mark = store.mark()
        if mark != self._seen:
            routes = self._routes
            table = with_places(store.table(routes), store)
            store.keep()
            if table.version < self._served:
                logger.warning("the state store went back from version %d to %d", self._served, table.version)
            self._changed(table)
            # Reloaded meanwhile: what was read is of the old file, so the next look must read again.
            self._seen = mark if routes is self._routes else None
        if self._worker and (self._told != self._served or time.monotonic() - self._told_at >= store.heartbeat_s):
            told = self._served
            store.serves(self._worker, told)
            self._told, self._told_at = told, time.monotonic()

    def _cannot(self, error: Exception) -> None:
        text = f"the state store cannot be read, {self._meanwhile}: {error}"
        if text != self.problem:
            logger.warning("%s", text)
        self.problem = text

    def _leave(self, store: StateStore | None) -> None:
        try:
            if store is not None:
                store.leave(self._worker)
                store.close()
        except GraduandError:
            pass  # it is forgotten by and by
