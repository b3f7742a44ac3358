"""The leading controller's state as gauges: shares, phases, agreement with its band, evidence and its threshold.

`read` is pure. Invariant: a series is exported only while it is true; when it ends, the next look drops it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping

from graduand.gateway.control.store.rows import Row
from graduand.gateway.model.routes import TEACHER_ALONE, Route
from graduand.gateway.model.routing import STUDENT, TEACHER
from graduand.monitoring import metrics as m
from graduand.monitoring.metrics import Family, Metrics
from graduand.rollout import summary
from graduand.rollout.evidence import Reading
from graduand.rollout.spec.spec import GateSpec
from graduand.rollout.state import STEPPING, Phase

GAUGES = (
    m.SHARE, m.AGREEMENT, m.AGREEMENT_LOWER, m.AGREEMENT_UPPER, m.ROLLOUT_PHASE, m.ROLLOUT_EVIDENCE,
    m.ROLLOUT_THRESHOLD, m.ROLLOUT_STEP_AGE,
)  # fmt: skip
LN_10 = math.log(10)

Sample = tuple[Family, tuple[str, ...], float]


def export(metrics: Metrics, samples: Iterable[Sample]) -> None:
    """Make these the values of all gauges of this module."""
    values: dict[Family, dict[tuple[str, ...], float]] = {family: {} for family in GAUGES}
    for family, labels, value in samples:
        values[family][labels] = value
    for family, found in values.items():
        metrics.keep(family, found)


def read(routes: Mapping[str, Route], rows: Iterable[Row], now: float) -> Iterator[Sample]:
    """The gauges of the routes as they are served and of each one's newest rollout."""
    for name, route in routes.items():
        for arm, share in _shares(route).items():
            yield m.SHARE, (name, arm), share
    for row in rows:
        yield from _of_rollout(row, now)


def _shares(route: Route) -> dict[str, float]:
    """By arm, the share of units that it is asked for first; `incumbent` is the student in service while another is tried."""
    if route.student is None or route.mode in TEACHER_ALONE or (route.mode == "hybrid" and route.threshold is None):
        student = 0.0
    else:
        student = route.weight_bp / 10_000 if route.mode == "canary" else 1.0
    rest = TEACHER if route.incumbent is None or route.mode == TEACHER else "incumbent"
    return {TEACHER: 0.0, STUDENT: student, rest: 1 - student}


def _of_rollout(row: Row, now: float) -> Iterator[Sample]:
    state = row.state
    route = state.spec.route
    yield m.ROLLOUT_PHASE, (route, state.phase.value), 1.0
    yield m.ROLLOUT_STEP_AGE, (route,), max(0.0, now - _since(row))
    if row.at_rest:
        return
    yield from _agreement(row)
    evidence = row.ledger.snapshot()
    for prefix, specs, readings in (
        ("", state.gates, evidence.gates), ("harm:", state.spec.harm, evidence.harm),
    ):  # fmt: skip
        for spec in specs:
            yield from _gate(route, prefix + spec.name, spec, readings.get(spec.name))
    if state.phase is Phase.PROMOTED:
        yield from _gate(route, "watch", state.spec.watch, evidence.watch)
    if evidence.srm is not None:
        yield m.ROLLOUT_EVIDENCE, (route, "sample_ratio"), evidence.srm.log_e / LN_10
        yield m.ROLLOUT_THRESHOLD, (route, "sample_ratio"), state.spec.srm_log_threshold / LN_10


def _since(row: Row) -> float:
    state = row.state
    if state.phase is Phase.HOLD:
        return state.held_at
    return state.entered_at if state.phase in STEPPING else state.updated_at


def _agreement(row: Row) -> Iterator[Sample]:
    seen = summary.of(row.ledger)
    if seen is None or seen.share is None:
        return
    labels = (row.state.spec.route, row.state.spec.student)
    yield m.AGREEMENT, labels, seen.share
    yield m.AGREEMENT_LOWER, labels, seen.low
    yield m.AGREEMENT_UPPER, labels, seen.high


def _gate(route: str, name: str, spec: GateSpec, reading: Reading | None) -> Iterator[Sample]:
    yield m.ROLLOUT_EVIDENCE, (route, name), 0.0 if reading is None else reading.log_e / LN_10
    yield m.ROLLOUT_THRESHOLD, (route, name), spec.log_threshold / LN_10
