"""Claims under continuous looking, seeded. Error bars are four binomial standard errors unless said otherwise."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graduand.rollout.gates.srm import SampleRatio
from graduand.rollout.gates.watch import Watch
from graduand.rollout.simulate import drop, looking, policy, ramp, thresholds
from graduand.rollout.simulate.policy import Scenario
from graduand.rollout.spec.file import read
from graduand.rollout.state import Phase


def bar(p: float, runs: int) -> float:
    return 4 * math.sqrt(p * (1 - p) / runs)


@pytest.mark.parametrize(("rule", "least", "most"), [("point estimate", 0.85, 1), ("repeated Wilson", 0.1, 0.35)])
def test_looking_breaks_fixed_sample_rules(rule: str, least: float, most: float) -> None:
    assert least <= looking.false_promotions(rule, np.random.default_rng(1), runs=400) <= most


@pytest.mark.parametrize("rule", ["gate 1", "gate 2"])
@pytest.mark.parametrize(("p0", "alpha"), [(0.95, 0.05), (0.8, 0.1)])
def test_gates_keep_alpha_at_every_look(rule: str, p0: float, alpha: float) -> None:
    runs = 1000
    rate = looking.false_promotions(rule, np.random.default_rng(2), p0=p0, alpha=alpha, runs=runs)
    assert rate <= alpha + bar(alpha, runs)
    assert rate > alpha / 10  # a gate that never promotes would keep alpha too


@pytest.mark.parametrize(("to", "reference"), [(0.93, 695), (0.90, 193), (0.85, 70), (0.75, 31)])
def test_a_drop_after_promotion_is_seen_in_the_time_given(to: float, reference: int) -> None:
    delays = drop.delays(to, np.random.default_rng(4), runs=200)
    early = np.isnan(delays).mean()
    assert early < 0.05  # 5,000 good pairs at a mean run of at least 10,000
    # A median of 200 exponential-like delays has a standard error of about 9%.
    assert np.nanmedian(delays) <= reference * 1.3


def test_the_quick_watch_is_the_gate() -> None:
    delay = drop.delays(0.9, np.random.default_rng(5), good=300, runs=1)[0]
    rng, gate, at = np.random.default_rng(5), Watch(0.95), 0
    while gate.log_e < math.log(10_000):
        gate.update(bool(rng.random(1)[0] < (0.98 if at < 300 else 0.9)))
        at += 1
    assert at - 300 == delay


def test_the_watch_keeps_its_mean_run() -> None:
    """At the edge of health, A = 200: at least 200 pairs between false alarms on average."""
    delays = drop.delays(0.95, np.random.default_rng(6), good=0, mean_run=200, runs=300)
    assert delays.mean() >= 200 * (1 - 4 / math.sqrt(300))


def test_ramp_false_alarms() -> None:
    gate, pooled = ramp.alarms(1.0, np.random.default_rng(7), runs=300)
    assert np.isfinite(gate).mean() <= 0.01 + bar(0.01, 300)
    assert np.isfinite(pooled).mean() > 0.1


@pytest.mark.parametrize(("ratio", "reference"), [(2, 26_900), (3, 15_600), (5, 10_400)])
def test_ramp_catches_real_harm(ratio: float, reference: int) -> None:
    gate, _ = ramp.alarms(ratio, np.random.default_rng(8), runs=200)
    assert np.median(gate) == pytest.approx(reference, rel=0.15)


@pytest.mark.parametrize(
    ("pairs", "coverage", "runs"),
    [(1000, 0.46, 80), (2000, 0.53, 40), pytest.param(5000, 0.57, 150, marks=pytest.mark.slow)],
)
def test_thresholds_keep_their_promise(pairs: int, coverage: float, runs: int) -> None:
    found = thresholds.trials(np.random.default_rng(10), pairs, runs=runs)
    assert found["violations"] <= 0.1 + bar(0.1, runs)
    assert found["tuned violations"] > 0.13
    assert found["coverage"] >= coverage - 0.03


POLICY: dict[str, Any] = {
    "route": "r",
    "student": "s@3f9c1a",
    "steps": [
        {"shadow": {"pairs": 300, "t_max": "90m"}},
        {"canary": {"weight": 10, "dwell": "10m", "t_max": "90m"}},
        {"full": {"dwell": "10m", "t_max": "90m"}},
    ],
    "on_inconclusive": "rollback",
    "cycle": "none",
    "audit": 0.2,
}
SPEC = read(POLICY)


def test_the_whole_policy_keeps_alpha_at_the_boundary() -> None:
    """Agreement exactly p0, looked at every minute: about 90 looks at 5,400 pairs."""
    runs = 6
    found = policy.many(SPEC, Scenario(0.95), np.random.default_rng(11), runs)
    assert found.promoted <= 0.05 + bar(0.05, runs)
    assert found.promoted + found.rolled_back + found.held == 1


def test_a_good_student_is_promoted_and_an_equal_error_rate_is_no_harm() -> None:
    found = policy.many(SPEC, Scenario(0.985), np.random.default_rng(12), 3)
    assert found.promoted >= 0.8


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(0.85),  # bad from the start
        Scenario(0.985, breaks_at=1000),  # breaks at 10%
        Scenario(0.985, served_agreement=0.0),  # copies are right, what is served is not
        Scenario(0.985, served_agreement=0.0, users=20, session=20),
        Scenario(0.985, breaks_at=10_000, broken_agreement=0.0),  # right until it serves everybody
        Scenario(0.985, error_ratio=20.0),  # fails where the teacher does not
    ],
)
def test_harm_is_not_missed(scenario: Scenario) -> None:
    found = policy.many(SPEC, scenario, np.random.default_rng(13), 2)
    assert (found.promoted, found.rolled_back) == (0, 1)
    assert found.median_wrong <= 300


def test_a_student_at_the_harm_edge_is_seldom_called_harmful() -> None:
    """Agreement exactly at the harm gate's p0: alarms in at most alpha_h = 1% of runs."""
    steps = [{"shadow": {"pairs": 4000}}, "full"]
    lenient = read({**POLICY, "steps": steps, "gates": [{"latency": {"slo": "1s"}}], "harm": ["agreement 0.9"]})
    found = policy.many(lenient, Scenario(0.9, horizon_s=3600.0), np.random.default_rng(14), 8)
    assert found.rolled_back <= 0.01 + bar(0.01, 8)


def test_sample_ratio_alarms() -> None:
    """Fair splits alarm in 1 of 1,000 runs or fewer, looked at 100 times; 12% instead of 10% is seen."""
    rng, shares = np.random.default_rng(18), [0.1, 0.1, 0.8]

    def alarm(true: list[float]) -> bool:
        gate = SampleRatio(shares)
        for counts in rng.multinomial(100, true, 100):
            gate.counts = [old + int(new) for old, new in zip(gate.counts, counts, strict=True)]
            if gate.log_e >= math.log(1000):
                return True
        return False

    assert sum(alarm(shares) for _ in range(300)) <= 2
    assert sum(alarm([0.12, 0.1, 0.78]) for _ in range(50)) >= 40


def test_silence_holds() -> None:
    quiet = replace(Scenario(0.985), requests_per_s=0.0, horizon_s=86_400.0)
    outcome = policy.run(SPEC, quiet, np.random.default_rng(15))
    assert outcome.end is Phase.HOLD
    assert outcome.hold == "no_data"


def test_logged_pairs_are_replayed() -> None:
    logged = [True] * 197 + [False] * 3
    found = policy.many(SPEC, Scenario(logged), np.random.default_rng(16), 5)
    assert found.promoted >= 0.8


def test_the_same_seed_gives_the_same_figures() -> None:
    one, other = (policy.many(SPEC, Scenario(0.97), np.random.default_rng(17), 1) for _ in range(2))
    assert one == other


HYBRID = read(
    {
        "route": "r", "student": "s@3f9c1a", "gates": ["agreement 0.9"], "cycle": "none",
        "steps": [{"shadow": {"pairs": 300, "t_max": "4h"}}, {"hybrid": {"risk": 0.03, "requests": 300, "dwell": "10m"}}],
    }
)  # fmt: skip


def test_hybrid_defers_more_the_less_its_confidence_tells() -> None:
    good, blind = (
        policy.many(HYBRID, Scenario(0.94, separation=k, horizon_s=21_600.0), np.random.default_rng(19), 2)
        for k in (6.0, 0.0)
    )
    assert (good.promoted, good.learnt) == (1, 1)
    assert good.median_deferred is not None
    assert 0.02 < good.median_deferred < 0.7
    assert good.median_released_disagreement is not None
    assert good.median_released_disagreement <= 0.03
    # Six in a hundred disagree wherever one cuts: three cannot be proved, so nobody gets there.
    assert blind.learnt is not None
    assert blind.learnt <= HYBRID.steps[1].delta + bar(HYBRID.steps[1].delta, 2)
    assert blind.promoted <= blind.learnt


def test_logged_confidence_is_replayed() -> None:
    vectors: list[list[float] | None] = [[5.0, 5.0, 5.0, -0.1]] * 180 + [[0.1, 0.1, 0.1, -2.0]] * 20
    agreed = [True] * 180 + [True, False] * 10
    found = policy.many(HYBRID, Scenario(agreed, vectors=vectors), np.random.default_rng(20), 4)
    assert (found.promoted, found.learnt) == (1, 1)
    assert found.median_deferred == pytest.approx(0.1, abs=0.05)
    assert found.median_released_disagreement == pytest.approx(0, abs=0.01)


def test_without_log_probabilities_no_threshold_is_learnt() -> None:
    found = policy.many(HYBRID, Scenario([True] * 50), np.random.default_rng(21), 1)
    assert (found.promoted, found.learnt, found.median_deferred) == (0, 0, None)


@pytest.mark.parametrize("agreement", [0.3, 0.9, 0.98, 1.0])
def test_described_confidence_keeps_the_agreement(agreement: float) -> None:
    world = policy.World(Scenario(agreement), np.random.default_rng(22))
    every = np.arange(40_000)
    vectors, agreed = policy._answers(world, np.full(40_000, -1), every, 0, np.zeros(40_000, dtype=bool), 0.0)
    assert np.mean(agreed) == pytest.approx(agreement, abs=0.015)
    sure = [same for vector, same in zip(vectors, agreed, strict=True) if vector is not None and vector[0] > 0.5]
    assert np.mean(sure) >= np.mean(agreed)
