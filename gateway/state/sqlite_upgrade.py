"""Fills a file's new table of hashes, with what an older version of Graduand left there in tables of its own, if it did.

All of it is one transaction: a process that is killed in it leaves the old file. Afterwards the old tables are gone, and a
view in the place of one of them makes an older version refuse the file, which it would otherwise take for an empty one.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from graduand.gateway.state.sqlite_hashes import SqliteHashes

# Whoever reads this view gets an error with the text in it; the trigger lets one who writes to it read it first.
REFUSE = """
CREATE VIEW meta AS SELECT 1 AS version WHERE json_extract('{}', 'this file belongs to a newer version of Graduand');
CREATE TRIGGER meta_is_read_first INSTEAD OF INSERT ON meta BEGIN SELECT 1; END
"""
# A rollout in one of these phases is over, or has not begun: nothing is kept to decide about it.
AT_REST = ("draft", "rolled_back", "aborted", "superseded")
SEEN_S = 900

Rows = list[dict[str, Any]]


def fill(file: SqliteHashes) -> None:
    """Give a file its first hashes; inside a transaction."""
    if file.number("meta", "version"):  # another process was faster
        return
    file.set("meta", "version", 1)
    there = {name for (name,) in file.db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for name, (order, take) in OLD.items():
        if name in there:
            found = file.db.execute(f"SELECT * FROM {name} ORDER BY {order}")
            names = [column[0] for column in found.description]
            take(file, [dict(zip(names, row, strict=True)) for row in found.fetchall()])
            file.db.execute(f"DROP TABLE {name}")
    for statement in REFUSE.split(";\n"):
        file.db.execute(statement)


def _meta(file: SqliteHashes, rows: Rows) -> None:
    for row in rows:
        file.set("meta", "version", row["version"])


def _routes(file: SqliteHashes, rows: Rows) -> None:
    for row in rows:
        file.set("routes", row.pop("name"), json.dumps(row))


def _served(file: SqliteHashes, rows: Rows) -> None:
    for row in rows:
        file.set("served", row["worker"], f"{row['version']} {row['time']:.0f}")


def _adapters(file: SqliteHashes, rows: Rows) -> None:
    for row in rows:
        one = [row["name"], row["upstream"], row["path"], row["added_at"], row.get("base")]
        file.set("adapters", f"{row['name']} {row['upstream']}", json.dumps(one))


def _events(file: SqliteHashes, rows: Rows) -> None:
    for number, row in enumerate(rows, 1):
        what = [row["time"], row["subject"], row["who"], json.loads(row["what"])]
        file.set("events", str(number), json.dumps(what))
    file.set("meta", "events", len(rows))


def _leases(file: SqliteHashes, rows: Rows) -> None:
    for row in rows:
        file.set("lease", row["name"], json.dumps([row["holder"], row["token"], row["until"]]))


def _documents(file: SqliteHashes, rows: Rows) -> None:
    for row in rows:
        file.set(f"documents:{row['kind']}", row["key"], row["data"])


def _rollouts(file: SqliteHashes, rows: Rows) -> None:
    for number, row in enumerate(rows, 1):
        file.set("rollouts:index", row["id"], json.dumps([row["route"], number]))
        file.set("rollouts", row["id"], json.dumps(row))
        if row["phase"] not in AT_REST:
            file.set("rollouts:live", row["id"], row["started_at"])
    file.set("meta", "rollouts", len(rows))


def _rollout_events(file: SqliteHashes, rows: Rows) -> None:
    for row in rows:
        what = [row["phase"], row["token"], json.loads(row["event"])]
        file.set(f"events:{row['rollout']}", str(row["version"]), json.dumps(what))


def _units(file: SqliteHashes, rows: Rows) -> None:
    for row in _live(file, rows):
        failed_at = "" if row["failed_at"] is None else row["failed_at"]
        file.set(f"units:{row['rollout']}:{row['entry']}", str(row["unit"]), failed_at)


def _course(file: SqliteHashes, rows: Rows) -> None:
    for row in rows:
        file.append(f"course:{row['rollout']}", json.dumps([row["at"], json.loads(row["point"])]))
        file.set("course:last", row["rollout"], row["at"])


def _disagreements(file: SqliteHashes, rows: Rows) -> None:
    for row in rows:
        file.append(f"disagreements:{row['rollout']}", json.dumps([row["at"], row["record"], json.loads(row["seen"])]))


def _samples(file: SqliteHashes, rows: Rows) -> None:
    for row in _live(file, rows):
        file.append(f"samples:{row['rollout']}:{row['attempt']}", json.dumps(json.loads(row["sample"])))


def _judging(file: SqliteHashes, rows: Rows) -> None:
    queues = defaultdict[str, Rows](list)
    for row in rows:
        queues[_queue(file, row)].append(row)
    for queue, waiting in queues.items():
        for place, row in enumerate(waiting, 1):
            file.set(queue, str(place), json.dumps([json.loads(row["wanted"]), json.loads(row["verdicts"])]))
            file.set(f"{queue}:cases", str(place), row["data"])
        file.set(queue, "last", len(waiting))
        file.set(queue, "waiting", len(waiting))


def _judged(file: SqliteHashes, rows: Rows) -> None:
    for row in rows:
        file.set(_queue(file, row).replace("judging", "judged"), str(row["day"]), row["pairs"])


def _told(file: SqliteHashes, rows: Rows) -> None:
    for row in rows:
        file.set("told", f"{row['rollout']}/{row['hook']}", row["version"])


def _tail(file: SqliteHashes, rows: Rows) -> None:
    for row in rows:
        file.set("read", row["file"], row["read_to"])


def _waiting(file: SqliteHashes, rows: Rows) -> None:
    for row in rows:
        half = f"{row['role']} {row['id']}"
        file.set("waiting", half, json.dumps([row["file"], row["at"], row["length"]]))
        file.set("waiting:since", half, row["time"])


def _seen(file: SqliteHashes, rows: Rows) -> None:
    for row in rows:
        part = str(int(row["time"] // SEEN_S))
        file.set(f"seen:{part}", row["id"], "")
        file.set("seen", part, "")


def _live(file: SqliteHashes, rows: Rows) -> Iterable[dict[str, Any]]:
    live = file.all("rollouts:live")
    return (row for row in rows if row["rollout"] in live)


def _queue(file: SqliteHashes, row: dict[str, Any]) -> str:
    _, number = json.loads(file.get("rollouts:index", row["rollout"]) or "[null, 0]")
    return f"judging:{number}"


# The old tables, in what order to read each, and what becomes of it; rollouts before what belongs to them.
OLD: dict[str, tuple[str, Callable[[SqliteHashes, Rows], None]]] = {
    "meta": ("version", _meta),
    "routes": ("name", _routes),
    "served": ("worker", _served),
    "adapters": ("name", _adapters),
    "events": ("id", _events),
    "lease": ("name", _leases),
    "documents": ("key", _documents),
    "rollouts": ("created_at, rowid", _rollouts),
    "rollout_events": ("version", _rollout_events),
    "rollout_units": ("unit", _units),
    "rollout_course": ("at", _course),
    "rollout_disagreements": ("number", _disagreements),
    "rollout_samples": ("number", _samples),
    "rollout_judging": ("number", _judging),
    "rollout_judged": ("day", _judged),
    "rollout_told": ("version", _told),
    "tail": ("file", _tail),
    "tail_waiting": ("time", _waiting),
    "tail_seen": ("time", _seen),
}
