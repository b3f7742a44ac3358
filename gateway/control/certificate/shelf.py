"""What a verifier has to remember of a log of any length: in a database of SQLite's own, on the disk once it is large."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any, Literal

from graduand.gateway.model.evidence import Digest

Json = dict[str, Any]
# An empty name is a file of SQLite's own, deleted when it is closed; small ones never leave the memory.
TEMPORARY = ""
SCHEMA = """
CREATE TABLE once (basis INTEGER, what TEXT, unit TEXT, PRIMARY KEY (basis, what, unit)) WITHOUT ROWID;
CREATE TABLE records (id TEXT PRIMARY KEY, place INTEGER, frame TEXT, asked TEXT, answered TEXT, found TEXT) WITHOUT ROWID;
CREATE TABLE seen (id TEXT, kind TEXT, PRIMARY KEY (id, kind)) WITHOUT ROWID;
CREATE TABLE cases (number INTEGER PRIMARY KEY, body TEXT, context TEXT);
CREATE TABLE parts_of (record TEXT, number INTEGER, kept TEXT, PRIMARY KEY (record, number)) WITHOUT ROWID;
CREATE TABLE served (id TEXT PRIMARY KEY, number INTEGER, body TEXT, context TEXT) WITHOUT ROWID;
CREATE TABLE verdicts (record TEXT, question TEXT, text TEXT, erased INTEGER, PRIMARY KEY (record, question)) WITHOUT ROWID;
CREATE TABLE parts (name TEXT PRIMARY KEY, sha256 TEXT, line INTEGER) WITHOUT ROWID;
"""


class Shelf:
    """Not for two threads at once."""

    def __init__(self) -> None:
        self._db = sqlite3.connect(TEMPORARY, isolation_level=None)
        self._db.executescript(SCHEMA)
        self._db.execute("BEGIN")

    def close(self) -> None:
        """Throw it all away."""
        self._db.close()

    def first(self, basis: int, what: str, unit: int) -> bool:
        """Whether something happens to a unit for the first time."""
        return self._put("INSERT OR IGNORE INTO once VALUES (?, ?, ?)", basis, what, f"{unit:x}")

    def put_record(self, place: int, digest: Digest) -> bool:
        """A record was read; False if it was before."""
        return self._put("INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?, NULL)", digest[0], place, *digest[1:])

    def record(self, name: str) -> tuple[int, Digest] | None:
        """When a record was read, and its digest."""
        row = self._one("SELECT place, id, frame, asked, answered FROM records WHERE id = ?", name)
        return None if row is None else (row[0], (row[1], row[2], row[3], row[4]))

    def put_found(self, name: str, kind: str, how: str) -> bool:
        """A record was found in a file of a kind, `how` it is; False if it was before."""
        self._db.execute("UPDATE records SET found = ? WHERE id = ?", (how, name))
        return self._put("INSERT OR IGNORE INTO seen VALUES (?, ?)", name, kind)

    def found(self, name: str) -> str | None:
        """How a record was found; None if it was not."""
        row = self._one("SELECT found FROM records WHERE id = ?", name)
        return None if row is None or row[0] is None else str(row[0])

    def lost(self) -> tuple[str, int] | None:
        """The first record that was read and not found, and when it was read."""
        row = self._one("SELECT id, place FROM records WHERE found IS NULL ORDER BY place LIMIT 1")
        return None if row is None else (row[0], row[1])

    def erased(self) -> int:
        """How many records have lost a text."""
        return int((self._one("SELECT count(*) FROM records WHERE found = 'erased'") or (0,))[0])

    def put_case(self, number: int, body: Json, context: Json) -> None:
        """A pair, and what its rollout was like when it was learnt from."""
        self._put("INSERT INTO cases VALUES (?, ?, ?)", number, json.dumps(body), json.dumps(context))
        for record in body["records"]:
            self._put("INSERT OR IGNORE INTO parts_of VALUES (?, ?, NULL)", record, number)

    def put_served(self, number: int, body: Json, context: Json) -> bool:
        """A served request that counts by itself; False if it did before."""
        values = (body["record"], number, json.dumps(body), json.dumps(context))
        return self._put("INSERT OR IGNORE INTO served VALUES (?, ?, ?, ?)", *values)

    def served(self, name: str) -> tuple[int, Json, Json] | None:
        """The line about a served request."""
        row = self._one("SELECT number, body, context FROM served WHERE id = ?", name)
        return None if row is None else (row[0], json.loads(row[1]), json.loads(row[2]))

    def keep(self, record: str, data: Json) -> None:
        """Keep a record if a pair needs it."""
        if self._one("SELECT 1 FROM parts_of WHERE record = ?", record) is not None:
            self._put("UPDATE parts_of SET kept = ? WHERE record = ?", json.dumps(data), record)

    def cases(self) -> Iterator[tuple[int, Json, Json]]:
        """Every pair, in order."""
        for number, body, context in self._db.execute("SELECT number, body, context FROM cases ORDER BY number"):
            yield number, json.loads(body), json.loads(context)

    def kept(self, number: int, record: str) -> Json | None:
        """A record of a pair."""
        row = self._one("SELECT kept FROM parts_of WHERE record = ? AND number = ?", record, number)
        return None if row is None or row[0] is None else json.loads(row[0])

    def put_verdict(self, record: str, question: str, text: str | None, *, erased: bool) -> None:
        """What a judge said."""
        self._put("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?)", record, question, text, int(erased))

    def verdicts(self, record: str) -> tuple[dict[str, str | None], bool]:
        """What a judge said of a request's answers, by question; and whether some of it was erased."""
        rows = self._db.execute("SELECT question, text, erased FROM verdicts WHERE record = ?", (record,)).fetchall()
        return {question: text for question, text, _ in rows}, any(erased for _, _, erased in rows)

    def put_part(self, name: str, sha256: str, line: int) -> None:
        """A part that the evidence names."""
        self._put("INSERT OR REPLACE INTO parts VALUES (?, ?, ?)", name, sha256, line)

    def count(self, what: Literal["cases", "parts"]) -> int:
        """How many pairs or parts there are."""
        return int(self._one(f"SELECT count(*) FROM {what}")[0])

    def take_part(self, name: str) -> str | None:
        """The hash that the evidence has of a part of this name; it is not asked for again."""
        row = self._one("SELECT sha256 FROM parts WHERE name = ?", name)
        self._put("DELETE FROM parts WHERE name = ?", name)
        return None if row is None else str(row[0])

    def parts_left(self) -> list[str]:
        """A few of the parts that nobody has asked for."""
        return [name for (name,) in self._db.execute("SELECT name FROM parts ORDER BY line LIMIT 3")]

    def _put(self, statement: str, *values: Any) -> bool:
        return self._db.execute(statement, values).rowcount > 0

    def _one(self, statement: str, *values: Any) -> Any:
        return self._db.execute(statement, values).fetchone()
