"""All detectors of one route and adapter: from log records to readings and alarms. Pure; its state is plain JSON.

Invariant: the same records in the same order give the same alarms under the same ids, however often the panel was stored
and restored in between.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from graduand.gateway.model.fields import Record
from graduand.gateway.model.monitors import Monitors
from graduand.gateway.monitor import observed
from graduand.monitoring.drift.adwin import Adwin
from graduand.monitoring.drift.check_failures import CheckFailures
from graduand.monitoring.drift.describe import describe
from graduand.monitoring.drift.descriptors import Descriptors
from graduand.monitoring.drift.mix import MixShift
from graduand.monitoring.drift.neighbours import scores
from graduand.monitoring.drift.novelty import Novelty
from graduand.monitoring.drift.prompts import Prompt
from graduand.monitoring.drift.reference import Reference
from graduand.monitoring.drift.sessions import Sessions
from graduand.monitoring.embedding.embedder import Embedder
from graduand.monitoring.verdict import Alarm

Json = dict[str, Any]


class Detector(Protocol):
    """What all detectors share."""

    value: float
    threshold: float
    n: int

    def state(self) -> Mapping[str, Any]:
        """Plain data."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one monitor stands."""

    monitor: str
    n: int
    value: float
    threshold: float
    alarms: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What novelty made of one request: its p-value, and the evidence after it (`Novelty.p` and `.value`).

    `time` is the request's own.
    """

    id: str
    time: float
    route: str
    adapter: str
    novelty_p: float
    e_value: float


class Panel:
    """`reference` and its `embedder` may be missing: then inputs are not watched, only answers."""

    def __init__(
        self, route: str, adapter: str, monitors: Monitors, reference: Reference | None, embedder: Embedder | None
    ) -> None:
        self.route, self.adapter = route, adapter
        self._promises = {name: one.false_alarm_every for name, one in monitors.on.items()}
        self._embedder = embedder
        self._reference = reference
        self._near = None if reference is None else reference.neighbours()
        self._detectors = _detectors(self._promises, reference)
        self._sessions = Sessions()
        self._alarms = dict.fromkeys(self._promises, 0)
        self._raised: list[Alarm] = []
        self._evaluated: list[Evaluation] = []

    def same(self, monitors: Monitors) -> bool:
        """Whether these settings would make the same detectors."""
        return self._promises == {name: one.false_alarm_every for name, one in monitors.on.items()}

    def take(self, record: Record) -> None:
        """Learn from one record of this route."""
        at = float(record["time"])
        prompt = observed.prompt(record) if self._reference is not None else None
        if prompt is not None:
            self._input(prompt, record, at)
        output = observed.output(record, self.adapter)
        if output is not None and "outputs.failed" in self._detectors:
            self._output(output, at)
        checked = observed.checked(record, self.adapter)
        failures = self._detectors.get("check_failures")
        if (
            checked is not None
            and isinstance(failures, CheckFailures)
            and failures.update(student=checked.student, failed=checked.failed)
        ):
            self._raise(
                failures, "check_failures", at, "the student's answers fail their checks more than the teacher's"
            )

    def _input(self, prompt: Prompt, record: Record, at: float) -> None:
        novelty, mix = self._detectors.get("novelty"), self._detectors.get("mix")
        unit = observed.unit(record)
        if novelty is not None or mix is not None:
            assert self._embedder is not None
            assert self._reference is not None
            assert self._near is not None
            point = self._embedder.embed(prompt.text)
            if isinstance(novelty, Novelty):
                # Without a unit the same text again is the same session's.
                first = self._sessions.first(
                    unit or hashlib.sha256(prompt.text.encode("utf-8", "replace")).hexdigest()[:16], at
                )
                found = scores(self._near, self._reference.usual, point, len(prompt.text))
                alarm = novelty.update(found, counts=first)
                self._evaluated.append(Evaluation(record["id"], at, self.route, self.adapter, novelty.p, novelty.value))
                if alarm:
                    self._raise(novelty, "novelty", at, f"requests are unlike what {self.adapter} was trained on")
            if isinstance(mix, MixShift) and mix.update(point, unit):
                self._raise(mix, "mix", at, f"topics come in another mix than in the training data of {self.adapter}")
        described = self._detectors.get("descriptors")
        if isinstance(described, Descriptors) and described.update(describe(prompt.text, prompt.system), at, unit):
            self._raise(described, "descriptors", at, f"the {described.culprit} of requests is spread differently")

    def _output(self, output: observed.Output, at: float) -> None:
        seen = {"failed": float(output.failed), "cut": float(output.cut), "length": output.length}
        for name, value in seen.items():
            detector = self._detectors[f"outputs.{name}"]
            if value is not None and isinstance(detector, Adwin) and detector.update(value):
                said = {"failed": "failures", "cut": "answers cut at their token limit", "length": "answers' lengths"}
                self._raise(detector, "outputs", at, f"the rate of the student's {said[name]} has changed")

    def _raise(self, detector: Detector, monitor: str, at: float, detail: str) -> None:
        self._alarms[monitor] += 1
        evidence = f"{detail}: {_number(detector.value)} reached {_number(detector.threshold)} after {detector.n:,} observations"
        promise = f"at most one false alarm in {self._promises[monitor]:,.0f}"
        digest = "" if self._reference is None else self._reference.digest
        number = f"{self.route} {self.adapter} {digest} {monitor} {self._alarms[monitor]}"
        seen = self.reading(monitor).n
        said = f"{evidence} ({promise})"
        self._raised.append(
            Alarm(number, self.route, self.adapter, monitor, at, seen, detector.value, detector.threshold, said)
        )

    def take_alarms(self) -> list[Alarm]:
        """Alarms since the last call."""
        raised, self._raised = self._raised, []
        return raised

    def take_evaluations(self) -> list[Evaluation]:
        """Of the requests since the last call, in their order."""
        evaluated, self._evaluated = self._evaluated, []
        return evaluated

    def reading(self, monitor: str) -> Standing:
        """Where a monitor stands; of several detectors the one that is nearest to an alarm."""
        mine = [one for name, one in self._detectors.items() if name.partition(".")[0] == monitor]
        top = max(mine, key=lambda one: one.value / one.threshold)
        return Standing(monitor, max(one.n for one in mine), top.value, top.threshold, self._alarms[monitor])

    def readings(self) -> list[Standing]:
        """All of them."""
        names = dict.fromkeys(name.partition(".")[0] for name in self._detectors)
        return [self.reading(name) for name in names]

    def state(self) -> Json:
        """All that was learnt."""
        detectors = {name: one.state() for name, one in self._detectors.items()}
        return {"alarms": self._alarms, "detectors": detectors, "sessions": self._sessions.state()}

    def restore(self, state: Json) -> None:
        """Go on from there; a detector that was not there yet begins."""
        self._alarms |= {name: count for name, count in state["alarms"].items() if name in self._alarms}
        if "sessions" not in state:
            return  # of an earlier version, whose windows say nothing of who asked
        self._sessions.restore(state["sessions"])
        for name, one in self._detectors.items():
            if name in state["detectors"]:
                one.restore(state["detectors"][name])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _detectors(promises: Mapping[str, float], reference: Reference | None) -> dict[str, Detector]:
    found: dict[str, Detector] = {}
    if reference is not None:
        if "novelty" in promises:
            found["novelty"] = Novelty(reference.scores.tolist(), promises["novelty"])
        if "mix" in promises:
            found["mix"] = MixShift(reference.whitening, reference.nulls, promises["mix"])
        if "descriptors" in promises:
            found["descriptors"] = Descriptors(reference.spreads, promises["descriptors"])
    if "check_failures" in promises:
        found["check_failures"] = CheckFailures(promises["check_failures"])
    if "outputs" in promises:  # three detectors share the promise
        found |= {f"outputs.{name}": Adwin(3 * promises["outputs"]) for name in ("failed", "cut", "length")}
    return found
