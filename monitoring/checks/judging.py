"""A route's checks together: verdicts over a whole answer, and over a stream as it grows. Pure but for the clock given.

Invariants: a check that fails or takes longer than its limit counts as a trigger; one check's trouble never keeps another
from being asked; each verdict that a stream gets early is the one that its whole answer gets.
"""

from collections.abc import Callable, Iterable, Iterator
from time import perf_counter, thread_time
from typing import NamedTuple

import orjson

from graduand.monitoring.checks.answer import Choice
from graduand.monitoring.checks.check import PASS, Check, Finding, Watch
from graduand.monitoring.checks.own import OwnCheck
from graduand.monitoring.checks.patterns import Growing, PatternCheck

FALLBACK, FLAG, BLOCK = "fallback", "flag", "block"
NONE = "none"
# A longer text is looked at in pieces of so many characters, so that other requests get their turn in between.
TURN = 1 << 14
LIMIT_S = 0.05
# Latencies are told in tenths of a microsecond; up to so many, the verdict of an answer that passed is made once.
TENTHS_KEPT = 500


class Armed:
    """A check with what follows if it triggers, and how long it may take over one answer (of a long one: a turn)."""

    __slots__ = ("_passed", "action", "check", "limit_s", "name", "version")

    def __init__(self, check: Check, action: str = FALLBACK, limit_s: float = LIMIT_S) -> None:
        self.check = check
        self.action = action
        self.limit_s = limit_s
        self.name = check.name
        self.version = check.version
        self._passed: dict[int, Verdict] = {}

    def passed(self, took_s: float) -> "Verdict":
        """The verdict of an answer that the check let pass: nearly all are alike, and made once."""
        tenths = int(took_s * 1e7)
        verdict = self._passed.get(tenths)
        if verdict is None:
            verdict = Verdict(self.name, self.version, PASS.score, PASS.label, tenths / 10_000, NONE, "pass")
            if tenths < TENTHS_KEPT:
                self._passed[tenths] = verdict
        return verdict


class Verdict:
    """What one check said of one answer, and what followed. `outcome`: pass, trigger, error or timeout.

    Never changed once it is made; a plain class, because that is the quickest to make once it is compiled.
    """

    __slots__ = ("_logged", "action", "label", "latency_ms", "name", "outcome", "score", "version")

    def __init__(
        self, name: str, version: str, score: float, label: str, latency_ms: float, action: str, outcome: str
    ) -> None:
        self.name = name
        self.version = version
        self.score = score
        self.label = label
        self.latency_ms = latency_ms
        self.action = action
        self.outcome = outcome
        self._logged: orjson.Fragment | None = None

    def logged(self) -> orjson.Fragment:
        """As the log record has it."""
        if self._logged is None:
            shown = {
                "name": self.name, "version": self.version, "score": self.score, "label": self.label,
                "latency_ms": self.latency_ms, "action": self.action,
            }  # fmt: skip
            self._logged = orjson.Fragment(orjson.dumps(shown))
        return self._logged


class Checks:
    """The checks of one route, asked in their order. Nothing of one answer is kept for the next.

    `armed` are ours, which are asked here; `own` are the user's, whom the data plane asks. `there`: there is one of either.

    `used`: this thread's processor time. A limit is judged by it, so that a machine that has no time for us makes no check
    late; it is slow to read, so the clock says whether it needs to be.
    """

    __slots__ = ("armed", "clock", "own", "there", "used")

    def __init__(
        self,
        armed: Iterable["Armed | OwnCheck"],
        clock: Callable[[], float] = perf_counter,
        used: Callable[[], float] = thread_time,
    ) -> None:
        given = tuple(armed)
        self.armed = tuple([one for one in given if isinstance(one, Armed)])
        self.own = tuple([one for one in given if isinstance(one, OwnCheck)])
        self.there = len(given) > 0
        self.clock = clock
        self.used = used

    def judge(self, choices: list[Choice], *, acting: bool) -> list[Verdict]:
        """The verdicts over a whole answer; the first choice that triggers a check decides. Not `acting`: all only flag."""
        clock = self.clock
        verdicts: list[Verdict] = []
        at = clock()
        for armed in self.armed:
            finding = _asked(armed.check, choices)
            now = clock()
            took_s, late = now - at, False
            if took_s > armed.limit_s:
                late = self._is_late(armed, choices)
                now = clock()
            verdicts.append(_verdict(armed, finding, took_s, late=late, acting=acting))
            at = now
        return verdicts

    def _is_late(self, armed: Armed, choices: list[Choice]) -> bool:
        """Ask once more, by processor time: to read that before each answer would cost as much as a check does."""
        used = self.used()
        _asked(armed.check, choices)
        return self.used() - used > armed.limit_s

    def in_turns(self, choices: list[Choice], verdicts: list[Verdict], *, acting: bool) -> Iterator[None]:
        """The same for an answer of any length: append the verdicts, and yield where others may have their turn."""
        for armed in self.armed:
            finding, took_s, late = PASS, 0.0, False
            for work in _turns(armed.check, choices):
                used, at = self.used(), self.clock()
                found = _done(work)
                took_s += self.clock() - at
                late = late or self.used() - used > armed.limit_s
                yield None
                if found is not None:
                    finding = found
                    if found.triggered:
                        break
            verdicts.append(_verdict(armed, finding, took_s, late=late, acting=acting))

    def watcher(self) -> "Watcher":
        """For one stream whose first choice is released as it comes."""
        return Watcher(self)


class Watcher:
    """The checks that can tell before the end, over the first choice's text as it grows.

    `reach`: what begins in the last so many characters may still become something that triggers.
    """

    __slots__ = ("_checks", "_watches", "reach", "verdicts")

    def __init__(self, checks: Checks) -> None:
        self._checks = checks
        self._watches: list[tuple[Armed, Watch]] = []
        self.verdicts: list[Verdict] = []
        self.reach = 0
        for armed in checks.armed:
            watch = armed.check.watch() if armed.action != FLAG else None
            if watch is not None:
                self._watches.append((armed, watch))
                self.reach = max(self.reach, watch.reach)

    def feed(self, text: str) -> bool:
        """Whether some check has triggered by now; the verdicts say which."""
        if not text or self.verdicts:
            return bool(self.verdicts)
        checks = self._checks
        used, at = checks.used(), checks.clock()
        for armed, watch in self._watches:
            try:
                finding = watch.feed(text)
            except Exception as error:  # whatever it is, the check has not said that the answer is well
                finding = _failed(error)
            now = checks.clock()
            late = now - at > armed.limit_s and checks.used() - used > armed.limit_s
            if finding is not None or late:
                self.verdicts.append(_verdict(armed, finding or PASS, now - at, late=late, acting=True))
            at = now
        return bool(self.verdicts)

    def confirmed(self, verdicts: Iterable[Verdict]) -> list[Verdict]:
        """The whole answer's verdicts, but for checks that failed on the way: those have not said that it is well."""
        failed = {verdict.name: verdict for verdict in self.verdicts if verdict.outcome != "trigger"}
        return [failed.get(verdict.name, verdict) for verdict in verdicts]


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The verdict that decides: the first that blocks, else the first that falls back; None if the answer may go."""
    fallback = None
    for verdict in verdicts:
        if verdict.action == BLOCK:
            return verdict
        if verdict.action == FALLBACK and fallback is None:
            fallback = verdict
    return fallback


def logged(verdicts: Iterable[Verdict]) -> list[orjson.Fragment]:
    """As the log record has them."""
    return [one.logged() for one in verdicts]


def length(choices: Iterable[Choice]) -> int:
    """Characters of the longest text or argument."""
    longest = 0
    for choice in choices:
        longest = max(longest, len(choice.text))
        for arguments in choice.arguments:
            longest = max(longest, len(arguments))
    return longest


def _asked(check: Check, choices: list[Choice]) -> Finding:
    finding = PASS
    try:
        for choice in choices:
            finding = check.judge(choice)
            if finding.triggered:
                break
    except Exception as error:  # whatever it is, the check has not said that the answer is well
        return _failed(error)
    return finding


def _failed(error: Exception) -> Finding:
    # The error's text may quote the answer, and a verdict goes into the log.
    return Finding(True, f"error:{type(error).__name__}", 1.0)


def _verdict(armed: Armed, finding: Finding, took_s: float, *, late: bool, acting: bool) -> Verdict:
    if finding is PASS and not late:
        return armed.passed(took_s)
    latency_ms = int(took_s * 1e7) / 10_000  # round() takes longer than a check
    if finding.triggered:
        action = armed.action if acting else FLAG
        outcome = "error" if finding.label.startswith("error:") else "trigger"
        return Verdict(armed.name, armed.version, finding.score, finding.label, latency_ms, action, outcome)
    if late:
        action = armed.action if acting else FLAG
        return Verdict(armed.name, armed.version, 1.0, "timeout", latency_ms, action, "timeout")
    return Verdict(armed.name, armed.version, finding.score, finding.label, latency_ms, NONE, "pass")


class _Work(NamedTuple):
    """One turn: a whole judgement, the next piece for a watch, or a watch's end."""

    check: Check
    choices: list[Choice]
    watch: Growing | None = None
    text: str | None = None


def _turns(check: Check, choices: list[Choice]) -> Iterator[_Work]:
    """Patterns look at all of a text, so they are fed; what other checks look at is bounded."""
    if not isinstance(check, PatternCheck):
        yield _Work(check, choices)
        return
    for choice in choices:
        for text in (choice.text, *choice.arguments):
            watch = check.watch()
            for at in range(0, len(text), TURN):
                yield _Work(check, choices, watch, text[at : at + TURN])
            yield _Work(check, choices, watch)


def _done(work: _Work) -> Finding | None:
    if work.watch is None:
        return _asked(work.check, work.choices)
    try:
        return work.watch.end() if work.text is None else work.watch.feed(work.text)
    except Exception as error:
        return _failed(error)
