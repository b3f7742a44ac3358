"""Detectors keep their promise without a change, see one, and go on bit by bit from a stored state."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graduand.monitoring.drift import DriftError
from graduand.monitoring.drift.adwin import Adwin
from graduand.monitoring.drift.check_failures import CheckFailures
from graduand.monitoring.drift.describe import describe
from graduand.monitoring.drift.descriptors import WINDOW, Descriptors, stability_index
from graduand.monitoring.drift.mix import MixShift, null_windows, whitening
from graduand.monitoring.drift.novelty import ENOUGH, Novelty
from graduand.monitoring.drift.spreads import Seen, spreads

Rng = np.random.Generator


@dataclass(frozen=True)
class Kind:
    """One detector: `fresh` for a promise, and observations before and after a change."""

    name: str
    fresh: Callable[[float], Any]
    usual: Callable[[Rng], Any]
    changed: Callable[[Rng], Any]
    update: Callable[[Any, Any], bool] = lambda detector, x: bool(detector.update(x))


RNG = np.random.default_rng(5)
MADE = whitening(RNG.normal(size=(800, 24)).astype(np.float32))
NULLS = null_windows(MADE.apply(RNG.normal(size=(2000, 24)).astype(np.float32)), RNG)
MANY, FEW = RNG.normal(size=(2, ENOUGH)).tolist(), RNG.normal(size=(2, 150)).tolist()


def ticket(rng: Rng) -> str:
    return "order " + "x" * int(rng.geometric(0.02)) + ("9" * int(rng.integers(4)))


KNOWN = spreads([describe(ticket(RNG)) for _ in range(3000)])
KINDS = [
    Kind("novelty", lambda every: Novelty(MANY, every), lambda rng: rng.normal(size=2).tolist(),
         lambda rng: rng.normal(1.5, 1, size=2).tolist()),
    Kind("novelty-few", lambda every: Novelty(FEW, every), lambda rng: rng.normal(size=2).tolist(),
         lambda rng: rng.normal(1.5, 1, size=2).tolist()),
    Kind("mix", lambda every: MixShift(MADE, NULLS, every), lambda rng: rng.normal(size=24).astype(np.float32),
         lambda rng: rng.normal(0.4, 1, size=24).astype(np.float32)),
    Kind("descriptors", lambda every: Descriptors(KNOWN, every), lambda rng: describe(ticket(rng)),
         lambda rng: describe(ticket(rng) + " 4711 0815")),
    Kind("adwin", Adwin, lambda rng: float(rng.random() < 0.05), lambda rng: float(rng.random() < 0.25)),
    Kind("check_failures", CheckFailures,
         lambda rng: (bool(rng.random() < 0.5), bool(rng.random() < 0.03)),
         lambda rng: (student := bool(rng.random() < 0.5), bool(rng.random() < (0.15 if student else 0.03))),
         lambda detector, x: bool(detector.update(student=x[0], failed=x[1]))),
]  # fmt: skip
by_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@by_kind
def test_false_alarms_are_as_rare_as_promised(kind: Kind) -> None:
    """In 8 runs of 1,500 without a change, with a promise of 500 between alarms: 24 alarms are allowed."""
    alarms = 0
    for seed in range(8):
        rng, detector = np.random.default_rng(seed), kind.fresh(500)
        alarms += sum(kind.update(detector, kind.usual(rng)) for _ in range(1500))
    assert alarms <= 24


@by_kind
def test_a_change_is_seen(kind: Kind) -> None:
    for seed in range(3):
        rng, detector = np.random.default_rng(seed), kind.fresh(10_000)
        for _ in range(600):
            kind.update(detector, kind.usual(rng))
        assert any(kind.update(detector, kind.changed(rng)) for _ in range(1200))


@by_kind
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), before=st.integers(0, 700), after=st.integers(1, 300), changed=st.booleans())
def test_restored_it_goes_on_bit_by_bit(kind: Kind, seed: int, before: int, after: int, changed: bool) -> None:
    rng = np.random.default_rng(seed)
    detector, other = kind.fresh(200), kind.fresh(200)
    draw = kind.changed if changed else kind.usual
    for _ in range(before):
        kind.update(detector, kind.usual(rng))
    other.restore(json.loads(json.dumps(detector.state())))
    seen = [draw(rng) for _ in range(after)]
    found = [[(kind.update(one, x), one.value, one.n) for x in seen] for one in (detector, other)]
    assert found[0] == found[1]
    assert json.dumps(detector.state()) == json.dumps(other.state())


@by_kind
def test_a_promise_must_be_possible(kind: Kind) -> None:
    with pytest.raises(DriftError, match="at least 100 requests between false alarms"):
        kind.fresh(5)


def test_with_few_calibration_points_the_promise_holds_all_the_same() -> None:
    """Used as they are, 60 points would alarm all the time on the same kind of numbers; joined by requests they do not."""

    def runs() -> Iterator[int]:
        for seed in range(30):
            rng = np.random.default_rng(seed)
            detector = Novelty(rng.normal(size=(1, 60)).tolist(), false_alarm_every=1_000)
            yield sum(detector.update(rng.normal(size=1).tolist()) for _ in range(1_000))

    assert sum(runs()) <= 30


def test_an_alarm_throws_out_what_was_learnt_of_the_drift() -> None:
    rng = np.random.default_rng(1)
    detector = Novelty([rng.normal(size=300).tolist()], false_alarm_every=1_000)
    while not detector.update([float(rng.normal(4))]):
        pass
    assert max(score for [score] in detector.state()["learnt"] or [[0.0]]) < 3.5
    assert any(detector.update([float(rng.normal(4))]) for _ in range(60))


def test_check_failures_do_not_mind_a_rate_that_both_share() -> None:
    """The base rate rises tenfold for both: no alarm; for the student alone: one."""
    rng = np.random.default_rng(3)
    detector = CheckFailures(false_alarm_every=1_000)
    for step in range(6_000):
        rate = 0.02 if step < 3_000 else 0.2
        assert not detector.update(student=bool(rng.random() < 0.3), failed=bool(rng.random() < rate))
    assert not detector.waiting
    alone = CheckFailures(false_alarm_every=1_000)
    assert not any(alone.update(student=True, failed=True) for _ in range(500))
    assert alone.waiting


def test_fixed_thresholds_fail_where_ours_holds() -> None:
    """With no change and windows of 100, PSI is above 0.1 in four windows of ten (the study's figure: 42%)."""
    rng = np.random.default_rng(0)
    reference = rng.multinomial(1000, [0.1] * 10)
    found = [stability_index(rng.multinomial(100, [0.1] * 10).tolist(), reference.tolist()) for _ in range(2000)]
    assert 0.3 < float(np.mean(np.array(found) > 0.1)) < 0.6


def described(rng: Rng, count: int, system: str = "") -> list[Any]:
    return [describe(ticket(rng), system) for _ in range(count)]


@pytest.mark.parametrize("rows", [64, 200])
def test_a_small_reference_keeps_the_promise_too(rows: int) -> None:
    """One window in ten may alarm; by a law that takes the reference for the truth half of them did with 64 rows."""
    alarms = windows = 0
    all_texts = described(np.random.default_rng(0), 3_000)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        drawn = [all_texts[at] for at in rng.integers(len(all_texts), size=rows + 2 * WINDOW)]
        detector = Descriptors(spreads(drawn[:rows], seed=seed), false_alarm_every=10 * WINDOW)
        alarms += sum(detector.update(one) for one in drawn[rows:])
        windows += 2
    assert alarms <= 0.1 * windows + 3 * (0.09 * windows) ** 0.5


@pytest.mark.parametrize("change", ["system message", "nothing"])
def test_a_new_system_message_is_seen_whatever_users_write(change: str) -> None:
    """Free text: each has a beginning of its own, so of templates nothing can be said."""
    rng = np.random.default_rng(4)

    def written(count: int, system: str) -> list[Any]:
        return [describe("".join(rng.choice(list("abcdefgh "), size=80)), system) for _ in range(count)]

    detector = Descriptors(spreads(written(1000, "Answer in JSON.")), false_alarm_every=10_000)
    system = "Answer in JSON, never in words." if change == "system message" else "Answer in JSON."
    found = any(detector.update(one) for one in written(WINDOW, system))
    assert found == (change == "system message")
    assert not found or detector.culprit in ("system", "system_length")


def test_one_customers_burst_is_one_observation() -> None:
    rng = np.random.default_rng(6)
    known = spreads(described(rng, 1000))
    burst = [describe("refund 4711 0815 please", "")] * 450 + described(rng, 50)
    alone, by_many = (Descriptors(known, false_alarm_every=10_000) for _ in range(2))
    assert not any(alone.update(one, 0.0, "ada" if at < 450 else str(at)) for at, one in enumerate(burst))
    assert any(by_many.update(one, 0.0, str(at)) for at, one in enumerate(burst))
    points = rng.normal(0.5, 1, size=(400, 24)).astype(np.float32)
    mix = [MixShift(MADE, NULLS, 10_000) for _ in range(2)]
    assert not any(mix[0].update(point, "ada") for point in points)
    assert any(mix[1].update(point, str(at)) for at, point in enumerate(points))


def weekly(rng: Rng, at: float) -> Any:
    """At night and at the weekend others write, and longer."""
    busy = 8 <= at // 3600 % 24 < 18 and at // 86_400 % 7 < 5
    return describe("order " + "x" * int(rng.geometric(0.05 if busy else 0.01)))


@pytest.mark.parametrize("by_hour", [True, False])
def test_a_reference_by_the_hour_of_the_week_knows_the_rhythm(by_hour: bool) -> None:
    rng = np.random.default_rng(8)
    times = [60.0 * minute for minute in range(0, 7 * 24 * 60, 2)]
    known = spreads([weekly(rng, at) for at in times], [Seen(at) for at in times] if by_hour else [])
    detector = Descriptors(known, false_alarm_every=10_000)
    week = [7 * 86_400 + at for at in times]
    alarms = sum(detector.update(weekly(rng, at), at) for at in week)
    assert (alarms <= 2) if by_hour else (alarms >= 4)
    longer = [14 * 86_400 + 20.0 * step for step in range(WINDOW * 3)]
    assert any(detector.update(describe("order " + "x" * int(rng.geometric(0.02))), at) for at in longer) or not by_hour


def test_what_does_not_count_is_judged_and_not_bet_on() -> None:
    detector = Novelty(MANY, 1_000)
    assert not any(detector.update([9.0, 9.0], counts=at == 0) for at in range(1_000))
    assert detector.p < 0.001
