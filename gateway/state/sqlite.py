"""The run-time state in one SQLite file: for one machine, where several processes may use it at once."""

import sqlite3
import time
from pathlib import Path

from graduand.gateway.state import sqlite_upgrade
from graduand.gateway.state.hashes import StateError
from graduand.gateway.state.sqlite_hashes import SqliteHashes
from graduand.gateway.state.store import StateStore


class SqliteStore(StateStore):
    """The store in one file."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteHashes(path)
        super().__init__(self._file)
        if not self._file.number("meta", "version"):
            try:
                with self.transaction():
                    sqlite_upgrade.fill(self._file)
            except sqlite3.Error as error:
                raise StateError(f"the state file {path} cannot be brought to this version's form: {error}") from error
        self.link_trail()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def now(self) -> float:
        """This machine's clock."""
        return time.time()

    def serves(self, worker: str, version: int) -> None:
        """A worker says which version of the table it serves by."""
        with self.transaction():
            self.hashes.set("served", worker, f"{version} {self.now():.0f}")

    def all_serve(self, version: int, workers: int) -> bool:
        """Whether all of the one gateway's workers serve by this version or a later one."""
        served = self.served()
        return all(served.get(str(number), 0) >= version for number in range(workers))
