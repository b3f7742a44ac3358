"""Tells a worker that the route table has changed, from a thread that looks at the state store a few times a second.

The data plane itself never touches the store. While the store cannot be read the last table stays in force. The thread
also tells the store which table the worker has come to serve by: a rollback is over when every worker serves weight 0.
"""

import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping

from gateway.config import local_path
from gateway.errors import GraduandError
from gateway.routes import Route, RouteTable
from gateway.state import SqliteStore

LOOK_EVERY_S = 0.1

logger = logging.getLogger("graduand")


class TableWatcher:
    """Calls `changed` (in the watching thread) with every new table; `first` reads the first one at once."""

    def __init__(
        self, state: str, routes: Mapping[str, Route], changed: Callable[[RouteTable], None], worker: str = ""
    ) -> None:
        self._path = local_path(state)
        self._routes = routes
        self._changed = changed
        self._seen = -1
        self._worker = worker
        self._served = self._told = -1
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="table-watcher", daemon=True)

    def first(self) -> RouteTable:
        """Read the table now, then begin to watch."""
        store = SqliteStore(self._path)
        table = store.table(self._routes)
        store.close()
        self._seen = self._served = table.version
        self._thread.start()
        return table

    def serves(self, version: int) -> None:
        """The worker serves by this version from now on; called by the worker."""
        self._served = version

    def configure(self, routes: Mapping[str, Route]) -> None:
        """Take over the routes of a reloaded configuration."""
        self._routes = routes
        self._seen = -1

    def stop(self) -> None:
        """Stop watching."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        store: SqliteStore | None = None
        failing = False
        while not self._stopping.wait(LOOK_EVERY_S):
            try:
                store = store or SqliteStore(self._path)
                if store.version() != self._seen:
                    routes = self._routes
                    table = store.table(routes)
                    self._changed(table)
                    # Reloaded meanwhile: what was read is of the old file, so the next look must read again.
                    self._seen = table.version if routes is self._routes else -1
                if self._told != self._served:
                    self._tell(store, self._served)
                failing = False
            except (sqlite3.Error, GraduandError) as error:
                if not failing:
                    logger.warning("the state store cannot be read, the last route table stays in force: %s", error)
                failing = True
                store = None

    def _tell(self, store: SqliteStore, version: int) -> None:
        if self._worker:
            store.serves(self._worker, version)
        self._told = version
