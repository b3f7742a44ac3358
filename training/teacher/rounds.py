"""Questions asked by an engine's workers: in rounds, each of which fits into the budget at its worst.

This process decides what may be asked and writes the ledger; workers only send, each its share of the requests at once and
of the rate, and hand back what they were told. So cap and rate hold for all workers together, and a run that is killed loses
what was under way and what had just come: at most twice the requests at once. Invariant: as in asking.py, an answer is in
the ledger before it counts. Must never carry a key: each worker reads it where it asks.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

import orjson
import pyarrow as pa

from graduand.training.engines.engine import LOCAL, Engine, cut
from graduand.training.stages.progress import Progress, Silent
from graduand.training.teacher import asking
from graduand.training.teacher.asking import Tally, TeacherClient, TeacherError, TeacherQuestion
from graduand.training.teacher.config import Teacher
from graduand.training.teacher.ledger import AnswerLedger, Entry
from graduand.training.teacher.limits import Budget
from graduand.training.teacher.prompts import Prompt

ASKED = pa.schema(
    {
        "id": pa.string(),  # of the row that is asked about
        "key": pa.string(),
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "prompt": pa.string(),
        "system": pa.string(),
        "repeat": pa.int64(),
    }
)
SAID = pa.schema({"id": pa.string(), "key": pa.string(), "entry": pa.binary(), "open": pa.string()})
REMARKS = b"remarks"


def ask(
    asked: Sequence[TeacherQuestion], teacher: Teacher, ledger: AnswerLedger, budget: Budget, concurrency: int,
    progress: Progress, engine: Engine = LOCAL,
) -> Tally:  # fmt: skip
    """Ask what the ledger does not know yet, `concurrency` at a time, in this process or by the engine's workers."""
    waiting = [question for question in asked if question.key not in ledger.entries]
    if not waiting or not engine.workers:
        return asking.ask(asked, teacher, ledger, budget, concurrency, progress)
    tally = Tally(known=len(asked) - len(waiting))
    books = _Books(teacher, ledger, budget, progress, tally, len(waiting))
    rest = waiting
    while rest and not tally.stopped:
        fitting, rest = _fitting(rest, teacher, budget)
        if fitting:
            books.round(fitting, engine, concurrency)
        else:
            tally.over_budget, tally.stopped = True, "the budget is spent"
    for question in rest:
        tally.open.setdefault(question.sample, tally.stopped)
    return tally


def _fitting(
    waiting: list[TeacherQuestion], teacher: Teacher, budget: Budget
) -> tuple[list[TeacherQuestion], list[TeacherQuestion]]:
    """The first questions, set aside at their worst for as long as they fit into the budget, and the rest."""
    for place, question in enumerate(waiting):
        if not asking.reserve(question, teacher, budget):
            return waiting[:place], waiting[place:]
    return waiting, []


class _Books:
    """Writes down what workers bring."""

    def __init__(
        self, teacher: Teacher, ledger: AnswerLedger, budget: Budget, progress: Progress, tally: Tally, total: int
    ) -> None:
        self._teacher = teacher
        self._ledger = ledger
        self._budget = budget
        self._progress = progress
        self._tally = tally
        self._total = total

    def round(self, questions: Sequence[TeacherQuestion], engine: Engine, concurrency: int) -> None:
        """Have all questions asked; raises TeacherError if the teacher lets nobody ask."""
        workers = min(engine.workers, concurrency)
        batches = [table(part) for part in cut(questions, concurrency // workers)]
        with contextlib.closing(engine.map(Sender(self._teacher, workers), batches, workers)) as outcomes:  # type: ignore[type-var]
            for _, outcome in outcomes:
                self._write(outcome)

    def _write(self, outcome: pa.Table) -> None:
        for line in outcome.to_pylist():
            if line["entry"] is None:
                self._budget.settle(line["key"], 0.0, 0)
                self._tally.open[line["id"]] = line["open"]
                continue
            entry = Entry(**orjson.loads(line["entry"]))
            self._ledger.add(entry)
            self._budget.settle(entry.key, entry.dollars or 0.0, entry.prompt_tokens + entry.completion_tokens)
            self._tally.asked += 1
        remarks = json.loads(outcome.schema.metadata[REMARKS])
        self._tally.retries += remarks["retries"]
        self._progress.step(self._tally.asked, self._total, asking.figures(self._teacher, self._budget, self._tally))
        if remarks["fatal"]:
            raise TeacherError(remarks["fatal"])
        self._tally.stopped = self._tally.stopped or remarks["stopped"]


def table(questions: Sequence[TeacherQuestion]) -> pa.Table:
    """A line of ASKED for each question."""
    return pa.Table.from_pylist(
        [
            {
                "id": each.sample, "key": each.key, "messages": each.messages, "prompt": each.prompt.name,
                "system": each.prompt.system, "repeat": each.repeat,
            }
            for each in questions
        ],
        ASKED,
    )  # fmt: skip


class Sender:
    """Asks a batch of questions all at once; a line of SAID for each, and in the schema's metadata what happened besides."""

    def __init__(self, teacher: Teacher, workers: int) -> None:
        rate = teacher.requests_per_minute
        self._teacher = teacher if rate is None else replace(teacher, requests_per_minute=rate / workers)
        self._kept = _Kept()
        self._asker: TeacherClient | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        questions = [
            TeacherQuestion(
                line["key"], line["id"], tuple(line["messages"]), Prompt(line["prompt"], line["system"]), line["repeat"]
            )
            for line in batch.to_pylist()
        ]
        asker = self._asker = self._asker or self._new()
        self._kept.entries.clear()
        fatal = ""
        try:
            asyncio.run(asker.ask(questions, len(questions)))
        except TeacherError as error:
            fatal = str(error)  # handed back, since the batch's other questions may have been answered
        said = [self._line(question, asker.tally) for question in questions]
        remarks = {"retries": asker.tally.retries, "stopped": asker.tally.stopped, "fatal": fatal}
        return pa.Table.from_pylist(said, SAID.with_metadata({REMARKS: json.dumps(remarks)}))

    def _new(self) -> TeacherClient:
        # A worker that takes the place of another may not send before the other's turn would have come.
        rate = self._teacher.requests_per_minute
        not_before = 0.0 if rate is None else time.time() + 60.0 / rate
        return TeacherClient(self._teacher, self._kept, Budget(), Silent(), not_before=not_before)

    def _line(self, question: TeacherQuestion, tally: Tally) -> dict[str, object]:
        entry = self._kept.entries.get(question.key)
        said = (
            {"entry": orjson.dumps(asdict(entry))} if entry else {"open": tally.open.get(question.sample, "not asked")}
        )
        return {"id": question.sample, "key": question.key, **said}


class _Kept:
    """A batch's answers on their way to the ledger."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def add(self, entry: Entry) -> None:
        self.entries[entry.key] = entry
