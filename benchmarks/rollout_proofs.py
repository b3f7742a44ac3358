"""Print every figure of docs/rollout-proofs.md: `python benchmarks/rollout_proofs.py [RUNS]` (2000: minutes)."""

import math
import sys
import timeit

import numpy as np

from graduand.rollout.assignment import arm, bucket
from graduand.rollout.gates.agreement import Agreement
from graduand.rollout.gates.error_ratio import ErrorRatio
from graduand.rollout.gates.scores import Scores
from graduand.rollout.gates.watch import Watch
from graduand.rollout.planning import boundary, crossing, pairs_needed
from graduand.rollout.simulate import drop, looking, policy, ramp, thresholds
from graduand.rollout.spec.file import read

SEED = 20240601


def generator(part: int) -> np.random.Generator:
    """A fresh generator a part, so that parts can be run alone."""
    return np.random.default_rng([SEED, part])


def promotions(runs: int) -> None:
    print(f"\nFalse promotion at p = p0 = .95, 5,000 pairs, alpha .05, a look after each pair ({runs} runs)")
    for part, rule in enumerate(looking.RULES):
        print(f"  {rule:16} {looking.false_promotions(rule, generator(part), runs=runs):6.1%}")
    for p0, alpha in ((0.95, 0.05), (0.9, 0.05), (0.99, 0.05), (0.5, 0.05), (0.95, 0.01)):
        exact = crossing(p0, boundary(p0, alpha, 5000)).sum()
        print(f"  gate 1, exact, p0 {p0}, alpha {alpha}: {exact:.2%}")


def pairs() -> None:
    print("\nPairs to certify agreement above .95 at alpha .05 (gate 1, exact): half, nine in ten")
    for true in (0.96, 0.97, 0.98, 0.99):
        print(f"  true {true}: {pairs_needed(0.95, true)}, {pairs_needed(0.95, true, chance=0.9)}")


def drops(runs: int) -> None:
    print(f"\nPairs to see a drop after 5,000 good at .98, A = 10^4, p0 = .95: median ({runs} runs)")
    for part, to in enumerate((0.93, 0.90, 0.85, 0.75)):
        delays = drop.delays(to, generator(20 + part), runs=runs)
        print(f"  to {to}: {np.nanmedian(delays):.0f}; alarms before the drop {np.isnan(delays).mean():.2%}")


def ramps(runs: int) -> None:
    print(f"\nRamp 1-5-10-25% over 40,000 requests, oscillating 1% errors, alpha .01 ({runs} runs)")
    for part, ratio in enumerate((1, 2, 3, 5)):
        gate, pooled = ramp.alarms(ratio, generator(30 + part), runs)
        seen = f"gate 4 alarms {np.isfinite(gate).mean():.1%}, median after {np.median(gate):.0f} requests"
        print(f"  ratio {ratio}: {seen}; pooled z-test, looked at every 100, alarms {np.isfinite(pooled).mean():.1%}")


def cuts(runs: int) -> None:
    print(f"\nConfidence threshold, risk .05, delta .1, best possible coverage .65 ({runs} runs)")
    for grid in (20, 50):
        for part, n in enumerate((1000, 2000, 5000)):
            found = thresholds.trials(generator(40 + part), n, cuts=grid, runs=runs)
            print(f"  {grid} cuts, {n} pairs: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()))


def policies(runs: int) -> None:
    print(f"\nWhole policy, looked at every minute, one request a second ({runs} runs)")
    steps = [{"shadow": {"pairs": 300, "t_max": "3h"}}, {"canary": {"weight": 5, "dwell": "10m", "t_max": "3h"}}]
    steps += [{"canary": {"weight": 25, "dwell": "10m", "t_max": "3h"}}, {"full": {"dwell": "10m", "t_max": "3h"}}]
    spec = read({"route": "r", "student": "s@3f9c1a", "steps": steps, "on_inconclusive": "rollback"})
    for part, scenario in enumerate(
        (
            policy.Scenario(0.95),
            policy.Scenario(0.98),
            policy.Scenario(0.99),
            policy.Scenario(0.90),
            policy.Scenario(0.85),
            policy.Scenario(0.98, breaks_at=500),
            policy.Scenario(0.98, error_ratio=3.0),
            policy.Scenario(0.98, error_ratio=10.0),
        )
    ):
        print(f"  {_named(scenario)}: {_shown(policy.many(spec, scenario, generator(50 + part), runs))}")


def _named(scenario: policy.Scenario) -> str:
    broken = f", breaks at {scenario.breaks_at / 100:g}%" if scenario.breaks_at is not None else ""
    return f"agreement {scenario.agreement}, errors x{scenario.error_ratio:g}{broken}"


def _shown(found: policy.Summary) -> str:
    ends = f"promoted {found.promoted:.1%}, rolled back {found.rolled_back:.1%}, held {found.held:.1%}"
    return f"{ends}; median {found.median_hours:.2f} h, {found.median_student_answers:.0f} answers by the student"


def speeds() -> None:
    print("\nMicroseconds a call")
    agreement, scores, errors, watch = Agreement(0.95), Scores(0.8), ErrorRatio(), Watch(0.95)
    million = Agreement(0.95, agreed=980_000, disagreed=20_000)
    timed = {
        "bucket and arm": lambda: arm(bucket("9f3c1a77", "support-triage-7", "user-12345"), 1000),
        "Agreement.update": lambda: agreement.update(True),
        "Agreement.log_e at 10^6 pairs": lambda: million.log_e,
        "Agreement.band at 10^6 pairs": lambda: million.band(),
        "Scores.update": lambda: scores.update(0.9),
        "ErrorRatio.update": lambda: errors.update(from_student=True, weight=0.1),
        "Watch.update": lambda: watch.update(True),
    }
    for name, call in timed.items():
        count = 100 if "band" in name else 20_000
        print(f"  {name}: {min(timeit.repeat(call, number=count, repeat=5)) / count * 1e6:.2f}")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    promotions(runs)
    pairs()
    drops(min(runs, 1000))
    ramps(runs)
    cuts(min(runs, 1000))
    policies(max(20, math.ceil(runs / 10)))
    speeds()


if __name__ == "__main__":
    main()
