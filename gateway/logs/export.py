"""Training data from a log: one line for each answer of a route, with the corrections that people gave.

Formats: `chat` is OpenAI's for fine-tuning, `prompt-completion` what `graduand train fit` reads, `raw` whole records with
their copies and feedback. Invariant: every record that was selected is a line or counted under the reason why it is not.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from graduand.gateway.errors import ConfigError, GraduandError
from graduand.gateway.logs.query import Log
from graduand.gateway.model import reader
from graduand.gateway.model.reader import Answer, Payloads

Json = dict[str, Any]
BATCH_ROWS = 500
# What people said of a pair's answers: the latest of each kind counts.
JOINED = """
WITH said AS (
    SELECT id AS about, arg_max(score, time) AS score, arg_max(label, time) AS label,
        arg_max(correction, time) AS correction, arg_max(comment, time) AS comment FROM feedback GROUP BY id
), joined AS (
    SELECT log.*, said.* EXCLUDE (about) FROM log LEFT JOIN said ON said.about = coalesce(log.parent_id, log.id)
)
SELECT * FROM joined WHERE route = ? AND time >= ? AND time < ? {conditions} ORDER BY time, id
"""
COPIES = """SELECT id, role, arm, adapter, completed, error, response_json FROM log WHERE parent_id = ? ORDER BY time"""


class ExportFailed(GraduandError, OSError):
    """The file cannot be written, or nothing was found for it."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records: `arm` None is both; times are seconds since 1970; `where` is SQL over the log's columns and feedback."""

    route: str
    since: float = 0.0
    until: float = float("inf")
    arm: str | None = "teacher"
    roles: tuple[str, ...] = ()
    where: str = ""


@dataclass(slots=True)
class Exported:
    """What became of the selected records."""

    records: int = 0
    lines: int = 0
    corrected: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> Json:
        """For scripts."""
        return {
            "records": self.records, "lines": self.lines, "corrected": self.corrected, "left_out": dict(self.left_out),
        }  # fmt: skip


def export(log: Log, selection: Selection, form: str, out: Path) -> Exported:
    """Write the selection to `out`, whole or not at all."""
    counts = Exported()
    partial = out.with_name(f"{out.name}.{os.getpid()}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            for row in selected(log, selection):
                counts.records += 1
                line = _raw(log, row) if form == "raw" else _example(row, form)
                if isinstance(line, str):
                    counts.left_out[line] += 1
                    continue
                counts.lines += 1
                counts.corrected += form != "raw" and bool(row["correction"])
                file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if not counts.records:
            routes = [name for (name,) in log.query("SELECT DISTINCT route FROM log ORDER BY route").fetchall()]
            partial.unlink()
            raise ExportFailed(f"no record was selected; the log has the routes {', '.join(routes) or '(none)'}")
        partial.replace(out)
    except OSError as error:
        if isinstance(error, GraduandError):
            raise
        raise ExportFailed(f"cannot write {out}: {error.strerror or error}") from error
    return counts


def selected(log: Log, selection: Selection) -> Iterator[Json]:
    """The selected records, oldest first, with score, label, correction and comment."""
    conditions = "".join(f" AND {one}" for one in _conditions(selection))
    parameters: list[Any] = [selection.route, selection.since, selection.until]
    parameters += [*([selection.arm] if selection.arm else []), *selection.roles]
    result = log.query(JOINED.format(conditions=conditions), parameters)
    names = [column[0] for column in result.description]
    while rows := result.fetchmany(BATCH_ROWS):
        yield from (dict(zip(names, row, strict=True)) for row in rows)


def _conditions(selection: Selection) -> Iterator[str]:
    if selection.arm:
        yield "arm = ?"
    if selection.roles:
        yield f"role IN ({', '.join('?' * len(selection.roles))})"
    # Days keep parts from being opened at all.
    if selection.since > 0:
        yield f"dt >= '{datetime.fromtimestamp(selection.since, UTC):%Y-%m-%d}'"
    if selection.until < float("inf"):
        yield f"dt <= '{datetime.fromtimestamp(selection.until, UTC):%Y-%m-%d}'"
    if selection.where:
        yield f"({selection.where}\n)"


def _raw(log: Log, row: Json) -> Json:
    extra = row.pop("extra")
    feedback = {name: row.pop(name) for name in ("score", "label", "correction", "comment")}
    given = {name: value for name, value in feedback.items() if value is not None}
    cursor = log.db.cursor()
    found = cursor.execute(COPIES, [row["id"]])
    names = [column[0] for column in found.description]
    copies = [dict(zip(names, one, strict=True)) for one in found.fetchall()] if row["role"] == "served" else []
    return {**row, **(orjson.loads(extra) if extra else {}), "feedback": given or None, "copies": copies}


def _example(row: Json, form: str) -> Json | str:
    """A training example, or the reason why there is none."""
    if row["request_json"] is None:
        return "payload not kept"
    if row["status"] != 200 or row["completed"] is not True:
        return "not answered"
    payloads: Payloads = {
        "request_json": row["request_json"], "response_json": row["response_json"], "endpoint": row["endpoint"],
    }  # fmt: skip
    request, answer = reader.request(payloads), reader.answered(payloads)
    if answer is None or answer.chat != ("messages" in request):
        return "no chat or text completion"
    if row["correction"]:
        answer = Answer(row["correction"], "stop", (), chat=answer.chat)
    elif answer.finish not in ("stop", "tool_calls"):
        return "finish_reason other than stop"
    return _chat(request, answer) if form == "chat" else _pair(row["id"], request, answer)


def _chat(request: Json, answer: Answer) -> Json | str:
    messages = request.get("messages")
    if not isinstance(messages, list):
        return "no chat"
    tools: Json = {name: request[name] for name in ("tools", "parallel_tool_calls") if name in request}
    return {"messages": [*messages, answer.message], **tools}


def _pair(number: str, request: Json, answer: Answer) -> Json | str:
    if answer.calls:
        return "calls a tool"
    if not answer.text:
        return "empty answer"
    prompt: Json = {name: request[name] for name in ("messages", "prompt") if name in request}
    return {"id": number, **prompt, "completion": answer.text}


def moment(text: str, at: str) -> float:
    """Seconds since 1970 of a day or a moment in ISO 8601, in UTC unless it says otherwise."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{at}: {text!r} is no day or time such as 2026-11-22 or 2026-11-22T10:30") from error
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
