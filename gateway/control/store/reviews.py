"""Questions to people and their labels, and what feedback said of answers that a rollout waits for.

Questions and labels belong to one step of one basis of a rollout's evidence. Which of them are asked, and in which order,
says the rollout's ledger; here stands what there is to see.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from graduand.gateway.control.store.rows import Row
from graduand.gateway.state.hashes import Hashes
from graduand.rollout.assignment import DAY_S
from graduand.rollout.state import Phase

Json = dict[str, Any]
# Of one answer so many statements are kept for the rollout that waits for one.
STATEMENTS = 20
DAYS = "outcomes"


class Reviews:
    """By rollout. Methods that write say so by their name and are called inside a transaction only."""

    _hashes: Hashes

    def write_question(self, row: Row, record: str, question: Mapping[str, Any]) -> None:
        """Keep what a person would see of a request."""
        self._hashes.set(_questions(row), record, json.dumps(question))

    def question(self, row: Row, record: str) -> Json | None:
        """What a person would see of a request; None if it is not there any more."""
        found = self._hashes.get(_questions(row), record)
        return None if found is None else dict(json.loads(found))

    def write_forget_questions(self, row: Row, records: Iterable[str]) -> None:
        """Drop questions that nobody is asked."""
        self._hashes.unset(_questions(row), records)

    def write_label(self, row: Row, record: str, label: Mapping[str, Any]) -> None:
        """Keep a label until the gate has learnt from it, and after that."""
        self._hashes.set(_labels(row), record, json.dumps(label))

    def label(self, row: Row, record: str) -> Json | None:
        """What was said of a request; None while nothing was."""
        found = self._hashes.get(_labels(row), record)
        return None if found is None else dict(json.loads(found))

    def labelled(self, row: Row, records: list[str]) -> list[bool]:
        """Of each of these requests whether it has a label."""
        return [one is not None for one in self._hashes.many(_labels(row), records)] if records else []

    def write_forget_reviews(self, row: Row) -> None:
        """Drop what belongs to other steps or to earlier bases; of a rollout that can never go on, all."""
        if all(gate.labels is None for gate in row.state.spec.gates):
            return
        over = row.state.phase is Phase.SUPERSEDED
        for basis in range(1, row.state.basis + 1):
            for step in row.state.spec.steps:
                if over or (basis, step.name) != (row.state.basis, row.ledger.step):
                    self._hashes.drop(_key("questions", row.id, basis, step.name))
                    self._hashes.drop(_key("labels", row.id, basis, step.name))

    def write_statement(self, record: str, at: float, score: float | None, label: str | None) -> None:
        """Keep what somebody said of an answer, the latest last."""
        day = _day(record)
        said = [*self.statements(record), [at, score, label]][-STATEMENTS:]
        self._hashes.set(f"{DAYS}:{day}", record, json.dumps(said))
        self._hashes.set(DAYS, str(day), "")

    def statements(self, record: str) -> list[tuple[float, float | None, str | None]]:
        """What was said of an answer: when, the score and the label."""
        found = self._hashes.get(f"{DAYS}:{_day(record)}", record)
        return [] if found is None else [(at, score, label) for at, score, label in json.loads(found)]

    def write_forget_statements(self, before: float) -> None:
        """Drop what was said of answers of days that ended before then."""
        for day in self._hashes.all(DAYS):
            if (int(day) + 1) * DAY_S < before:
                self._hashes.drop(f"{DAYS}:{day}")
                self._hashes.unset(DAYS, [day])


def _day(record: str) -> int:
    """The day of the answer with this id, since 1970, UTC: a UUID of version 7 begins with its time."""
    try:
        number = uuid.UUID(record)
    except ValueError:
        return 0
    return int((number.int >> 80) / 1000 // DAY_S)


def _questions(row: Row) -> str:
    return _key("questions", row.id, row.state.basis, row.ledger.step)


def _labels(row: Row) -> str:
    return _key("labels", row.id, row.state.basis, row.ledger.step)


def _key(what: str, rollout: str, basis: int, step: str) -> str:
    return f"review:{what}:{rollout}:{basis}:{step}"
