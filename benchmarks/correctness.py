"""False certification and power of the gate of correctness: `python -m benchmarks.correctness`, some seconds.

Prints, for labels of a hundred requests looked at after each one, how often a share is certified: where it is exactly p0
(never more often than alpha), and where it is above, against gold labels alone.
"""

import numpy as np

from graduand.rollout.simulate.correctness import World, certified

RUNS, LABELS, ALPHA = 1000, 100, 0.05


def row(title: str, world: World, p0: float, seed: int, labels: int = LABELS) -> None:
    both = [
        certified(world, np.random.default_rng(seed), p0=p0, labels=labels, runs=RUNS, alpha=ALPHA, gold_alone=alone)
        for alone in (False, True)
    ]
    print(f"  {title:62s} {both[0]:6.1%}   gold alone {both[1]:6.1%}")


def main() -> None:
    print(f"Certified at alpha {ALPHA}, {LABELS} labels, one of a block of 20 requests, {RUNS} runs\n")
    print("Exactly at the bound (false):")
    for seed, p0 in enumerate((0.8, 0.9, 0.95)):
        row(f"p0 {p0}, guess right 90%", World(p0), p0, seed)
    row("p0 .8, guess right 50%: worth nothing", World(0.8, 0.5), 0.8, 10)
    row("p0 .8, guess always says right", World(0.8, flattering=True), 0.8, 11)
    row("p0 .8, doubtful requests drawn more often", World(0.8, 0.97, doubtful=True), 0.8, 12)
    row("p0 .8, share wanders, bad blocks first", World(0.8, worst_first=True), 0.8, 13)
    row("p0 .8, true .85, 10% of the draws are skipped", World(0.85, skipped=0.1), 0.8, 14)
    print("\nAbove it (power):")
    for good in (0.5, 0.9, 0.97):
        row(f"p0 .8, true .92, guess right {good:.0%}", World(0.92, good), 0.8, 20)
    row("p0 .8, true .92, doubtful requests drawn more often", World(0.92, 0.97, doubtful=True), 0.8, 21)
    for labels in (100, 300, 1000):
        row(f"p0 .95, true .98, guess right 90%, {labels} labels", World(0.98), 0.95, 22, labels)


if __name__ == "__main__":
    main()
