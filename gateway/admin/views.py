"""A rollout as the admin API, the command line and the page show it. Pure: from rows to plain data."""

from collections.abc import Mapping
from typing import Any

from graduand.gateway.control import judging, thresholds
from graduand.gateway.control.loop import trips
from graduand.gateway.control.store.rows import Row
from graduand.rollout import progress, summary, wording
from graduand.rollout.answers import tasks
from graduand.rollout.evidence import Evidence, Reading
from graduand.rollout.ledger import PATHS
from graduand.rollout.machine import decide
from graduand.rollout.spec.spec import GateSpec
from graduand.rollout.state import STEPPING, Event, Phase, serving
from graduand.rollout.transitions import AUDITED, TABLE, VERBS

Json = dict[str, Any]


def line(row: Row) -> Json:
    """The few facts that a list shows."""
    state, doing = row.state, serving(row.state)
    return {
        "id": row.id, "route": state.spec.route, "student": state.spec.student, "phase": state.phase.value,
        "step": state.current.name if state.current is not None else None, "mode": doing.mode,
        "weight": doing.weight_bp / 100, "version": state.version, "attempt": state.attempt,
        "hold": state.hold.value if state.hold is not None else None, "note": state.note,
        "created_at": row.created_at, "updated_at": state.updated_at,
    }  # fmt: skip


def status(
    row: Row, now: float, *, applied: bool, leader: bool, judging: int = 0, delays: tuple[str, ...] = (),
    labels: Json | None = None,
) -> Json:  # fmt: skip
    """Everything about where a rollout stands; `judging` pairs wait for a judge, `delays` keep others from coming, `labels`
    says how far people's labels are."""
    state = row.state
    evidence = row.ledger.snapshot(
        trips=trips(row), weights_applied=applied, threshold_ready=thresholds.ready(row, now)
    )
    step = state.current
    return {
        **line(row),
        "steps": [_step(row, number) for number in range(len(state.spec.steps))],
        "in_step": None if step is None else {
            "name": step.name, "n": row.ledger.step_n, "n_min": max(1, step.n_min), "dwelt_s": state.dwelt_s(now),
            "dwell_s": step.dwell_s, "t_max_s": step.t_max_s,
        },
        "approval": state.approval,
        "claim": _claim(row, evidence),
        "alpha_share": state.share,
        "gates": _gates(state.gates, evidence.gates),
        "harm": _gates(state.spec.harm, evidence.harm),
        "watch": _gate(state.spec.watch, evidence.watch) if state.phase is Phase.PROMOTED else None,
        "srm": _srm(row, evidence),
        "agreement": _agreement(row),
        "pairs": row.ledger.pairs,
        "unparsed": row.ledger.unparsed,
        "incumbent": None if row.incumbent is None else row.incumbent["adapter"],
        "judge": _judge(row, judging),
        "labels": labels,
        "counts": row.counts,
        "seconds_left": progress.seconds_left(state, row.ledger, now),
        "threshold": _threshold(row, now),
        "reasons": [
            *explain(row, evidence, now, leader=leader, judging=judging),
            *(() if row.at_rest else (*_of_labels(row, labels), *delays)),
        ],
        "applied": applied,
        "controller": leader or row.at_rest,
        "possible": possible(row),
        "spec_hash": state.spec.digest,
        "now": now,
    }  # fmt: skip


def explain(row: Row, evidence: Evidence, now: float, *, leader: bool, judging: int = 0) -> list[str]:
    """Why it is where it is, and what is missing."""
    reasons = list(decide(row.state, evidence, now).reasons)
    if not leader and not row.at_rest:
        reasons.insert(0, "no controller leads at this moment: nothing is decided until one does")
    if row.wants_threshold and not row.at_rest and not thresholds.ready(row, now):
        reasons.append(f"confidence threshold: {thresholds.why_not(row, now)}")
    if row.ledger.course is not None and not row.at_rest:
        reasons += _claimed(row)
    judge = _judge(row, judging)
    if judge is not None and not row.at_rest:
        reasons += _of_judge(judge)
    return reasons


def _judge(row: Row, waiting: int) -> Json | None:
    """How the judge of free text does; None where there is none."""
    asked = tasks.read(row.task).judge
    if asked is None:
        return None
    contradictions, judged = judging.contradictions(row)
    return {
        "upstream": asked.upstream, "model": asked.model, "waiting": waiting,
        "contradictions": contradictions, "judged": judged, "max_contradictions": asked.max_contradictions,
        "unscored": _sum(row, "unscored"), "failed": _sum(row, "judge failed"), "not_judged": _sum(row, "not judged"),
    }  # fmt: skip


def _sum(row: Row, beginning: str) -> int:
    return sum(count for what, count in row.counts.items() if what.startswith(f"{beginning}:"))


def _of_judge(judge: Json) -> list[str]:
    said = []
    if judge["waiting"]:
        said.append(f"{judge['waiting']} pairs wait for the judge {judge['model']}")
    if judge["failed"]:
        said.append(f"the judge failed to answer {judge['failed']} times; what it was asked is asked again")
    if judge["contradictions"]:
        said.append(
            f"the judge contradicts itself in {judge['contradictions']} of {judge['judged']} pairs when the order is swapped "
            f"(at most {judge['max_contradictions']:.0%} may be)"
        )
    if judge["unscored"]:
        said.append(f"{judge['unscored']} pairs are unscored: neither pass nor fail")
    if judge["not_judged"]:
        said.append(f"{judge['not_judged']} pairs were not judged: outside the sample or the day's budget")
    return said


def _of_labels(row: Row, labels: Json | None) -> list[str]:
    if labels is None:
        return []
    if labels["source"] == "outcomes":
        open_ = labels["drawn"] - labels["counted"]
        return [f"{open_} drawn answers wait for their outcome, {wording.span(labels['within_s'])} at most"] * bool(
            open_
        )
    return [
        f"{labels['waiting']} requests wait for a person's label: graduand review next {row.id}"
    ] * bool(labels["waiting"])  # fmt: skip


def possible(row: Row) -> list[Json]:
    """The verbs that make sense now, and whether each needs a reason."""
    verbs = sorted(VERBS & TABLE[row.state.phase].keys() - {"supersede"})
    if row.state.approval != "asked":
        verbs = [verb for verb in verbs if verb not in ("approve", "deny")]
    if row.state.phase is Phase.HOLD:
        retries = row.state.held is Phase.PRECHECK
        without = {"promote", "skip"} if row.state.held not in STEPPING else set()
        verbs = [verb for verb in verbs if verb not in without and (verb != "retry" or retries)]
    return [{"verb": verb, "needs_reason": verb in AUDITED} for verb in verbs]


def history(events: list[tuple[int, str, Event]]) -> list[Json]:
    """What happened, in order."""
    return [
        {
            "version": version, "phase": phase, "event": event.kind, "at": event.at, "who": event.actor,
            "reason": event.reason, "data": {key: value for key, value in event.data.items() if key != "salt"},
        }
        for version, phase, event in events
    ]  # fmt: skip


def _threshold(row: Row, now: float) -> Json | None:
    if not row.wants_threshold:
        return None
    threshold = row.learning.threshold
    learnt = (
        {} if threshold is None else {**threshold.to_dict(), "pairs": threshold.pairs, "disagreed": threshold.disagreed}
    )
    return {
        "ready": thresholds.ready(row, now),
        "said": row.learning.said,
        "why_not": thresholds.why_not(row, now),
        **learnt,
    }


def _claim(row: Row, evidence: Evidence) -> Json | None:
    """What the present step is to prove, of whom, and how far it is; None where harm gates and the path test pass it."""
    course, spec = row.ledger.course, row.state.spec
    if course is None:
        return None
    seen = course.seen
    return {
        "claim": spec.claim, "path": PATHS[row.ledger.phase], "cycle": spec.cycle, "cycles": course.whole,
        "users": max(0, seen.units - seen.unknown), "sessions": seen.sittings, "requests": seen.requests,
        "units_unknown": seen.unknown, "missing": seen.missing, "first_at": seen.first_at, "last_at": seen.last_at,
        "differ": evidence.differ, "says": wording.claim(spec.claim, PATHS[row.ledger.phase]),
        "not_covered": wording.not_covered(spec.claim, spec.cycle, PATHS[row.ledger.phase], seen.unknown),
    }  # fmt: skip


def _claimed(row: Row) -> list[str]:
    """What the present step is to prove, and what it will not say."""
    spec, path, course = row.state.spec, PATHS[row.ledger.phase], row.ledger.course
    unknown = 0 if course is None else course.seen.unknown
    missing = "; ".join(wording.not_covered(spec.claim, spec.cycle, path, unknown))
    return [f"proof: {wording.claim(spec.claim, path)}", f"not covered: {missing}"]


def _step(row: Row, number: int) -> Json:
    step, at = row.state.spec.steps[number], row.state.step
    done = number < at or row.state.phase is Phase.PROMOTED
    here = "stopped" if row.at_rest or row.state.phase is Phase.ROLLING_BACK else "now"
    return {
        "name": step.name, "kind": step.kind, "weight": step.weight_bp / 100, "approval": step.approval, "proof": step.proof,
        "place": "done" if done else here if number == at and row.state.phase is not Phase.PRECHECK else "ahead",
    }  # fmt: skip


def _gates(specs: tuple[GateSpec, ...], readings: Mapping[str, Reading]) -> list[Json]:
    return [_gate(spec, readings.get(spec.name)) for spec in specs]


def _gate(spec: GateSpec, reading: Reading | None) -> Json:
    log_e = reading.log_e if reading is not None else 0.0
    return {
        "name": spec.name, "log_e": log_e, "log_threshold": spec.log_threshold,
        "reached": bool(reading is not None and reading.n and log_e >= spec.log_threshold),
        "n": reading.n if reading is not None else 0, "note": reading.note if reading is not None else "",
        "last_at": reading.last_at if reading is not None else None, "needed_in": list(spec.needed_in),
        "p0": spec.p0, "path": spec.path,
    }  # fmt: skip


def _srm(row: Row, evidence: Evidence) -> Json | None:
    if evidence.srm is None or row.ledger.srm is None:
        return None
    arms = dict(zip(("treatment", "control", "rest"), row.ledger.srm.counts, strict=True))
    return {"log_e": evidence.srm.log_e, "log_threshold": row.state.spec.srm_log_threshold, "units": arms}


def _agreement(row: Row) -> Json | None:
    """The agreement of sessions, with the number of independent requests that would tell as much."""
    seen = summary.of(row.ledger)
    if seen is None:
        return None
    return {
        "share": seen.share, "low": seen.low, "high": seen.high, "n": seen.sessions, "p0": seen.p0,
        "requests": seen.requests, "effective": seen.effective,
    }  # fmt: skip
