"""Pairs of free text that wait for a judge, and what becomes of its verdicts.

Invariants: a pair that was taken in is in the store until all its verdicts are, and leaves it in the transaction in which
the gates learn from it, so a crash anywhere loses none and counts none twice. Pairs of a path are learnt from in the order in
which they came, however long the judge took for each, or answers that a judge is slow about (and a judge that is away)
would choose what the gates see next. Whether a pair is taken in depends on its unit and day only, never on what was said;
what the budget or the queue then has no room for is a missing outcome.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from graduand.gateway.control import journal, outcomes
from graduand.gateway.control.asking import JudgeClient, JudgeQuestion, JudgeReply
from graduand.gateway.control.outcomes import Answers, answers_from_dict
from graduand.gateway.control.store.queue import Waiting
from graduand.gateway.control.store.rollouts import Rollouts
from graduand.gateway.control.store.rows import Row
from graduand.gateway.model.routes import Upstream
from graduand.rollout.answers import judge, tasks
from graduand.rollout.answers.compare import Comparison
from graduand.rollout.answers.judge import Judged, Messages
from graduand.rollout.answers.tasks import Task
from graduand.rollout.assignment import BUCKETS, DAY_S, drawn
from graduand.rollout.gates import betabinomial
from graduand.rollout.ledger import Duel
from graduand.rollout.spec.spec import audit_share
from graduand.rollout.units import Path

# So many pairs of a path of a rollout are under way, or wait for an older one's verdicts.
WINDOW = 64
# A question that failed so often is given up once so many later pairs have their verdicts: it is not the judge's fault.
TRIES = 3
OVERTAKEN = 20
# A judge that is away for days must not fill the disk.
MOST_WAITING = 10_000
# Longer than any judge would read; the limit keeps a hostile answer from costing much.
LONGEST = 200_000
# Evidence against a judge that contradicts itself at most as often as it may: a false alarm in a thousand rollouts.
CONTRADICTORY = math.log(1000)
OUTCOMES = {1.0: "better", 0.5: "tie", 0.0: "worse", None: "unscored"}

Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Case:
    """One pair before the judge. Of `student` and `incumbent`, one whose answer cannot be compared at all is decided
    already: `unparsed` says why the student's is a disagreement, `incumbent_agreed` what is known of the other."""

    conversation: str
    answers: Answers
    unparsed: str = ""
    incumbent_agreed: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @property
    def wanted(self) -> list[int]:
        """The numbers of the questions to ask: both orders for the student (0, 1) and for the incumbent (2, 3)."""
        of_incumbent = self.answers.incumbent is not None and self.incumbent_agreed is None
        return [0, 1] * (not self.unparsed) + [2, 3] * of_incumbent

    def question(self, number: int, rubric: str) -> Messages:
        """One of them."""
        said = self.answers
        student = said.student if number < 2 else said.incumbent or ""
        return judge.prompts(rubric, self.conversation, said.teacher, student)[number % 2]


def case_from_dict(data: Mapping[str, Any]) -> Case:
    """The case that `Case.to_dict` described."""
    return Case(**{**data, "answers": answers_from_dict(data["answers"])})


def take_in(store: Rollouts, row: Row, task: Task, case: Case) -> None:
    """Let a pair wait for the judge, or count why not."""
    said, to = case.answers, task.judge
    if to is None:
        row.count("not judged: the task names no judge")
        return
    share_bp, whose = round(to.sample * seen_share(row, said.drawn.path) * BUCKETS), str(said.drawn.unit or said.record)
    if not drawn("judge", row.id, whose, said.at, share_bp):
        row.count("not judged: outside the sample")
        return
    case = replace(case, answers=replace(said, drawn=replace(said.drawn, p=said.drawn.p * share_bp / BUCKETS)))
    said, day = case.answers, int(said.at // DAY_S)
    full = "the day's budget is used up" if store.judged_on(row.id, day) >= to.max_per_day else ""
    if store.judging_count(row.id) >= MOST_WAITING:
        full = "too many pairs wait already"
    if full:  # drawn and not judged: a missing outcome
        row.count(f"not judged: {full}")
        outcomes.learn(store, row, said, Comparison(None, unscored="not judged"), how="missing")
        return
    if len(case.conversation) + len(said.teacher) + len(said.student) + len(said.incumbent or "") > LONGEST:
        outcomes.learn(store, row, said, Comparison(None, unscored="too long for a judge"), how="missing")
        return
    store.write_judging(row, day, case.wanted, case.to_dict(), served=said.drawn.path == "served")


def seen_share(row: Row, path: Path) -> float:
    """The share of a path's pairs that the judge sees, of those that the task's `sample` lets it see.

    Beside served answers, copies are judged about as often as these, not as often as there are more of them: a step rests on
    what was served, copies only show harm, and the judge's day would be over before the first served answer.
    """
    weight_bp = row.ledger.weight_bp
    if path == "served" or not 0 < weight_bp < BUCKETS:
        return 1.0
    return min(1.0, weight_bp * audit_share(row.state.spec, weight_bp) / (BUCKETS - weight_bp))


class Desk:
    """Hands waiting pairs to the judge and its verdicts to the gates. `count` is told a route and an outcome."""

    def __init__(self, asker: JudgeClient, count: Callable[[str, str], None]) -> None:
        self._asker = asker
        self._count = count
        self._out: dict[Key, str] = {}  # what is being asked, and for which rollout
        self._failures: Counter[Key] = Counter()
        self._came: list[JudgeReply] = []

    def settle(self, store: Rollouts, rows: Mapping[str, Row]) -> set[str]:
        """Keep the verdicts that came and learn from the pairs that have all theirs; which rollouts changed. Inside a
        transaction; `settled` must follow once that is done."""
        self._came += self._asker.replies()
        changed = set()
        for reply in self._came:
            row = rows.get(self._out[reply.key])
            if row is not None:
                self._keep(store, row, reply)
                changed.add(row.id)
        return changed | {row.id for row in rows.values() if self._learn(store, row)}

    def settled(self) -> None:
        """What `settle` did is in the store for good."""
        for reply in self._came:
            del self._out[reply.key]
            if reply.final:
                del self._failures[reply.key]
        self._came.clear()

    def ask(self, store: Rollouts, rows: Iterable[Row], upstreams: Mapping[str, Upstream]) -> None:
        """Ask the judge about as many waiting pairs as it may be asked about now."""
        for row in rows:
            task = tasks.read(row.task)
            upstream = None if task.judge is None else upstreams.get(task.judge.upstream)
            if task.judge is None or upstream is None:
                continue
            room = self._asker.room(upstream.name, task.judge.model)
            for number, at in self._open(store, row)[:room] if room > 0 else ():
                messages = case_from_dict(store.judging_case(number)).question(at, task.rubric)
                self._out[number, at] = row.id
                asked = JudgeQuestion((number, at), upstream, task.judge.model, messages, row.state.spec.route)
                self._asker.offer(asked)

    def _open(self, store: Rollouts, row: Row) -> list[Key]:
        """Questions to ask, about served answers first and then oldest first; but those that failed go last, or one that
        nobody can answer would look like a judge that is away."""
        waiting = [pair for queue in store.judging(row.id, WINDOW) for pair in queue]
        keys = [(number, at) for number, wanted, verdicts in waiting for at in wanted if str(at) not in verdicts]
        return sorted((key for key in keys if key not in self._out), key=lambda key: self._failures[key])

    def _keep(self, store: Rollouts, row: Row, reply: JudgeReply) -> None:
        if reply.problem:
            self._failures[reply.key] += 1
            row.count(f"judge failed: {reply.problem}")
            self._count(row.state.spec.route, "error")
        if reply.final:
            store.write_verdict(*reply.key, reply.text)

    def _learn(self, store: Rollouts, row: Row) -> bool:
        if tasks.read(row.task).judge is None:
            return False
        learnt = [self._learn_queue(store, row, queue) for queue in store.judging(row.id, WINDOW)]
        return any(learnt)

    def _learn_queue(self, store: Rollouts, row: Row, waiting: list[Waiting]) -> int:
        whole = [len(verdicts) == len(wanted) for _, wanted, verdicts in waiting]
        for at, (number, wanted, verdicts) in enumerate(waiting):
            if not whole[at] and not (sum(whole[at:]) >= OVERTAKEN and self._given_up(number, wanted, verdicts)):
                return at
            self._close(store, row, case_from_dict(store.judging_case(number)), verdicts)
            store.write_judged(number)
        return len(waiting)

    def _given_up(self, number: int, wanted: list[int], verdicts: Mapping[str, str | None]) -> bool:
        missing = [(number, at) for at in wanted if str(at) not in verdicts]
        return all(self._failures[key] >= TRIES and key not in self._out for key in missing)

    def _close(self, store: Rollouts, row: Row, case: Case, verdicts: Mapping[str, str | None]) -> None:
        said, to = case.answers, tasks.read(row.task).judge
        ended = closed(case, verdicts)
        if not case.unparsed:
            judged = ended.judged
            self._count(row.state.spec.route, "contradiction" if judged.contradicted else OUTCOMES[judged.score])
            if judged.score is not None or judged.contradicted:
                row.count("judged in both orders")
        words = () if case.unparsed else tuple(verdicts.get(str(at)) or "" for at in (0, 1))
        journal.verdicts(row, said.at, said.record, "" if to is None else to.model, verdicts)
        outcomes.learn(
            store, row, said, ended.found, duel=ended.duel, score=ended.judged.score, verdicts=words, how="judged",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Closed:
    """What a pair's verdicts say together."""

    judged: Judged
    found: Comparison
    duel: Duel


def closed(case: Case, verdicts: Mapping[str, str | None]) -> Closed:
    """A pair that has all its verdicts, by the number of the question. Pure."""
    said = case.answers
    judged = _judged(verdicts, 0, same=said.student == said.teacher)
    incumbent = _judged(verdicts, 2, same=said.incumbent == said.teacher)
    if case.unparsed:
        judged = Judged(0.0)
    found = Comparison(judged.agreed, unparsed=case.unparsed, unscored=judged.unscored)
    known = incumbent.score if case.incumbent_agreed is None else float(case.incumbent_agreed)
    return Closed(judged, found, outcomes.duel(judged.score, known))


def contradictions(row: Row) -> tuple[int, int]:
    """Of the pairs that the judge answered in both orders, how many contradict themselves; and how many there are."""
    return row.counts.get(f"unscored: {judge.CONTRADICTS}", 0), row.counts.get("judged in both orders", 0)


def unreliable(row: Row) -> str:
    """Why the judge cannot be relied on any longer; empty while it can."""
    to = tasks.read(row.task).judge
    wrong, pairs = contradictions(row)
    if to is None or betabinomial.log_evidence(wrong, pairs - wrong, to.max_contradictions) < CONTRADICTORY:
        return ""
    return (
        f"judge {to.model} contradicts itself in {wrong} of {pairs} pairs when the order is swapped; max_contradictions is "
        f"{to.max_contradictions:.0%}"
    )


def _judged(verdicts: Mapping[str, str | None], first: int, *, same: bool) -> Judged:
    one, other = verdicts.get(str(first)), verdicts.get(str(first + 1))
    if one is None or other is None:
        return Judged(None, "judge could not be asked")
    return judge.combine(one, other, same=same)
