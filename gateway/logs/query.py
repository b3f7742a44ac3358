"""SQL over a log: DuckDB with the views `log`, `feedback`, `labels`, `drift` and `evidence` over Parquet parts and segments
together, each record once.

Read-only: one SELECT (or DESCRIBE, EXPLAIN) at a time. `dt` and `hour` are columns made from the parts' folders: a
condition on them, or on `route`, keeps parts from being opened at all.
"""

import re
from typing import Any
from urllib.parse import urlsplit

import duckdb

from graduand.gateway.address import local_path
from graduand.gateway.errors import ConfigError, GraduandError
from graduand.gateway.logs import places, schema, seal
from graduand.gateway.logs.reading import KEYS, LogDamaged, Reader, Source, part_keys
from graduand.gateway.model import fields

# What was said twice counts once: of feedback and labels the first, of drift the last, which the monitor's state goes by. The
# same id has the same hour; grouped by it as well, a condition on `dt` reaches the parts of `drift` through the join, and a query
# that does not name the column does not read them at all.
VIEWS = (
    "CREATE VIEW evidence AS SELECT * FROM evidence_rows",
    "CREATE VIEW feedback AS SELECT DISTINCT ON (feedback_id) * FROM feedback_rows ORDER BY feedback_id, time",
    "CREATE VIEW labels AS SELECT DISTINCT ON (label_id) * FROM labels_rows ORDER BY label_id, time",
    f"""CREATE VIEW drift AS SELECT said.*, dt, hour FROM (
        SELECT dt, hour, id, arg_max({{{", ".join(f"'{name}': {name}" for name in schema.of("drift").names)}}}, evaluated_at)
            AS said
        FROM drift_rows GROUP BY dt, hour, id)""",
    """CREATE VIEW log AS SELECT record.* REPLACE (coalesce(record.drift, last.drift) AS drift) FROM log_rows record LEFT JOIN (
        SELECT dt, hour, id, arg_max({'novelty_p': novelty_p, 'e_value': e_value}, evaluated_at) AS drift
        FROM drift_rows GROUP BY dt, hour, id
    ) last ON last.id = record.id AND last.dt = record.dt AND last.hour = record.hour""",
)
EXPLAINED = re.compile(r"\s*explain\s+(analyze\s+)?(\([^)]*\)\s*)?(select|with|from|describe)\b", re.IGNORECASE)


class QueryFailed(GraduandError, ValueError):
    """DuckDB refused a query; the message is its own."""


class Log:
    """A log opened for queries. Not for two threads at once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        # Otherwise a name that is no table could be one of this program's own variables.
        self.db = duckdb.connect(config={"python_enable_replacements": False})
        for table in fields.TABLES:
            self._make_rows(table)
        for view in VIEWS:
            self.db.execute(view)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()

    def query(self, sql: str, parameters: list[Any] | None = None) -> Any:
        """Run one query; return DuckDB's result. Raise ConfigError if it would change something, QueryFailed otherwise."""
        try:
            statements = self.db.extract_statements(sql)
            kinds = [statement.type.name for statement in statements]
            explained = kinds == ["EXPLAIN"] and EXPLAINED.match(sql)
            if kinds != ["SELECT"] and not explained:
                found = ", ".join(kinds) or "nothing"
                raise ConfigError(f"a query is one SELECT; this is {found}. The log is only read here")
            return self.db.execute(statements[0], parameters or [])
        except duckdb.Error as error:
            raise QueryFailed(
                f"{error}\nThe tables are log, feedback, labels, drift and evidence; `DESCRIBE log` lists the columns"
            ) from error

    def _make_rows(self, table: str) -> None:
        """The view `TABLE_rows`: what is in parts and in segments."""
        # First the segments, then the parts: what is shipped in between is in both, and counted once.
        rows = _segment_rows(self._source, table)
        self.db.register("found", rows)
        self.db.execute(f"CREATE TABLE {table}_waiting AS SELECT * FROM found")
        self.db.unregister("found")
        places_of = [self._address(key) for key in part_keys(self._source, table)]
        whole = f"SELECT * FROM {table}_waiting"
        if places_of:
            self._reach()
            listed = ", ".join(_quoted(one) for one in places_of)
            kinds = "{'dt': VARCHAR, 'hour': VARCHAR" + (", 'route': VARCHAR}" if table == "log" else "}")
            # A part that was written before a field was added has no such column.
            columns = f"COLUMNS(lambda name: list_contains([{', '.join(map(_quoted, schema.of(table).names))}], name))"
            key = KEYS[table]
            whole += (
                f" UNION ALL BY NAME SELECT {columns}, dt, hour FROM read_parquet([{listed}], hive_partitioning = true, "
                f"hive_types = {kinds}, union_by_name = true) part WHERE NOT EXISTS "
                f"(SELECT 1 FROM {table}_waiting waits WHERE waits.{key} = part.{key})"
            )
        self.db.execute(f"CREATE VIEW {table}_rows AS {whole}")

    def _address(self, key: str) -> str:
        if places.is_local(self._source.url):
            return str(local_path(self._source.url).resolve() / key)
        parts = urlsplit(self._source.url)
        return f"{parts.scheme}://" + "/".join(one for one in (parts.netloc, parts.path.strip("/"), key) if one)

    def _reach(self) -> None:
        """Let DuckDB read buckets through obstore, which knows the same environment as the shipper."""
        if places.is_local(self._source.url):
            return
        from obstore.fsspec import FsspecStore

        scheme = urlsplit(self._source.url).scheme
        if not self.db.filesystem_is_registered(scheme):
            self.db.register_filesystem(FsspecStore("s3") if scheme == "s3" else FsspecStore("gs"))


def _segment_rows(source: Source, table: str) -> Any:
    """The records of the segments as an Arrow table with `dt` and `hour`."""
    import pyarrow as pa

    records = list(Reader(source, table).waiting())
    rows = schema.table(records, schema.of(table))
    try:
        folders = [seal.folder_of(record, table).removeprefix(f"{table}/").split("/") for record in records]
    except (LookupError, TypeError) as error:
        raise LogDamaged(f"a record in {source.spool} has no time or route ({error}); move its segment away") from error
    days = pa.array([folder[0].removeprefix("dt=") for folder in folders], pa.string())
    hours = pa.array([folder[1].removeprefix("hour=") for folder in folders], pa.string())
    return rows.append_column("dt", days).append_column("hour", hours)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
