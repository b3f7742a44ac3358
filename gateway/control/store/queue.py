"""Pairs that wait for a judge: two queues a rollout, of which only the fronts are ever read.

What was served has a queue of its own, which comes first: a step rests on it, and copies that are left over from the shadow
may be thousands. A pair's number names its queue and its place there, and is never given again.
"""

import json
from collections.abc import Mapping
from typing import Any

from graduand.gateway.control.store.rows import Row
from graduand.gateway.state.hashes import Hashes

QUEUE_NUMBERS = 10**12

Json = dict[str, Any]
# A waiting pair: its number, the questions to ask, and the verdicts so far by question.
Waiting = tuple[int, list[int], dict[str, str | None]]


class JudgeQueue:
    """By rollout. Methods that write say so by their name and are called inside a transaction only."""

    _hashes: Hashes

    def write_judging(self, row: Row, day: int, wanted: list[int], data: Mapping[str, Any], *, served: bool) -> None:
        """Let a pair wait for the answers to the `wanted` questions, and count it for its day."""
        rollout = self._rollout(row.id)
        queue = 2 * rollout + served
        place = self._hashes.next(_of(queue), "last")
        self._hashes.next(_of(queue), "waiting")
        self._hashes.set(_of(queue), str(place), json.dumps([wanted, {}]))
        self._hashes.set(_cases(queue), str(place), json.dumps(data))
        self._hashes.next(f"judged:{rollout}", str(day))

    def judging(self, rollout_id: str, most: int) -> tuple[list[Waiting], list[Waiting]]:
        """The oldest waiting pairs of each queue: what was served, and copies."""
        rollout = self._rollout(rollout_id)
        return self._front(2 * rollout + 1, most), self._front(2 * rollout, most)

    def _front(self, queue: int, most: int) -> list[Waiting]:
        done, last = (int(one or 0) for one in self._hashes.many(_of(queue), ["done", "last"]))
        waiting: list[Waiting] = []
        while done < last and len(waiting) < most:
            places = range(done + 1, min(last, done + most) + 1)
            for place, found in zip(places, self._hashes.many(_of(queue), [*map(str, places)]), strict=True):
                if found is not None:
                    waiting.append((queue * QUEUE_NUMBERS + place, *json.loads(found)))
            done = places[-1]
        return waiting[:most]

    def judging_case(self, number: int) -> Json:
        """What a waiting pair is about."""
        queue, place = divmod(number, QUEUE_NUMBERS)
        data: Json = json.loads(self._hashes.get(_cases(queue), str(place)) or "null")
        return data

    def judging_count(self, rollout_id: str) -> int:
        """How many pairs wait."""
        rollout = self._rollout(rollout_id)
        return sum(self._hashes.number(_of(2 * rollout + served), "waiting") for served in (0, 1))

    def judged_on(self, rollout_id: str, day: int) -> int:
        """How many pairs of this day (since 1970, UTC) were taken in."""
        return self._hashes.number(f"judged:{self._rollout(rollout_id)}", str(day))

    def write_verdict(self, number: int, question: int, text: str | None) -> None:
        """Keep the first verdict on a question; nothing if the pair waits no longer."""
        queue, place = divmod(number, QUEUE_NUMBERS)
        found = self._hashes.get(_of(queue), str(place))
        if found is not None:
            wanted, verdicts = json.loads(found)
            self._hashes.set(_of(queue), str(place), json.dumps([wanted, {str(question): text, **verdicts}]))

    def write_judged(self, number: int) -> None:
        """A pair waits no longer."""
        queue, place = divmod(number, QUEUE_NUMBERS)
        if self._hashes.get(_of(queue), str(place)) is None:
            return
        self._hashes.unset(_of(queue), [str(place)])
        self._hashes.unset(_cases(queue), [str(place)])
        self._hashes.set(_of(queue), "waiting", self._hashes.number(_of(queue), "waiting") - 1)
        if place == self._hashes.number(_of(queue), "done") + 1:
            self._hashes.set(_of(queue), "done", place)

    def write_forget_judging(self, row: Row) -> None:
        """Drop all waiting pairs of a rollout: nothing is to be learnt from them any more."""
        rollout = self._rollout(row.id)
        for queue in (2 * rollout, 2 * rollout + 1):
            last = self._hashes.number(_of(queue), "last")
            if last:
                self._hashes.drop(_of(queue))
                self._hashes.drop(_cases(queue))
                for name in ("last", "done"):  # a late verdict on one of them must not meet another pair
                    self._hashes.set(_of(queue), name, last)

    def _rollout(self, rollout_id: str) -> int:
        """The rollout's number among all; 0 before its row is written."""
        found = self._hashes.get("rollouts:index", rollout_id)
        return int(json.loads(found)[1]) if found is not None else 0


def _of(queue: int) -> str:
    """A queue's hash. Copies have the name that both had together once."""
    rollout, served = divmod(queue, 2)
    return f"judging:{rollout}" + ":served" * served


def _cases(queue: int) -> str:
    return f"{_of(queue)}:cases"
