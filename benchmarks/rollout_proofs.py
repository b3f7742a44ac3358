"""Print every figure of docs/rollout-proofs.md: `python benchmarks/rollout_proofs.py [short|full [PART …]]`.

`short` (the default) takes about five minutes on two cores, `full` about half an hour; both say so when they begin and how
long each part took. Every part has its own seed, so it can be had again alone. Intervals are 95% (Clopper and Pearson).
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import stats

from graduand.rollout.gates.account import weight
from graduand.rollout.planning import pairs_needed
from graduand.rollout.simulate import bets, correctness, labelled, policy, rows
from graduand.rollout.simulate import peers as others_rules
from graduand.rollout.simulate.correctness import World
from graduand.rollout.simulate.outcomes import Arms, certified, rolled_back
from graduand.rollout.simulate.policy import Scenario
from graduand.rollout.spec.file import read

SEED = 20240601
LOG_20 = math.log(20)


def generator(part: int) -> np.random.Generator:
    """A fresh generator a part, so that parts can be run alone."""
    return np.random.default_rng([SEED, part])


def interval(share: float, runs: int) -> str:
    """A share with its 95% interval."""
    hits = round(share * runs)
    low = 0.0 if not hits else float(stats.beta.ppf(0.025, hits, runs - hits + 1))
    high = 1.0 if hits == runs else float(stats.beta.ppf(0.975, hits + 1, runs - hits))
    return f"{share:.1%} ({low:.1%} to {high:.1%}, {runs} runs)"


def pairs(scale: int) -> None:
    print("\nIndependent requests until agreement above .95 is certified (cycle none, exact): half, nine in ten")
    for true in (0.96, 0.97, 0.98, 0.99):
        first = LOG_20 - math.log(weight(1))
        alone = (pairs_needed(0.95, true), pairs_needed(0.95, true, chance=0.9))
        print(f"  true {true}: alpha .05 {alone}, a route's first candidate {pairs_needed(0.95, true, first)}")
    runs = 1000 * scale
    found = np.isfinite(bets.waits(0.95, 0.95, generator(1), runs=runs, at_most=2000)).mean()
    print(f"  at the bound, looked at after each of 2,000: certified {interval(float(found), runs)}")


def sessions(scale: int) -> None:
    runs = 500 * scale
    print("\nSessions of 20 and of 5, correlation .1 and .3, at the bound .95: promoted by requests / by sessions")
    for part, (length, alike) in enumerate(((20, 0.1), (20, 0.3), (5, 0.1), (5, 0.3))):
        found = rows.sessions(generator(10 + part), alike=alike, length=length, count=6000 // length, runs=runs)
        print(f"  {length}, {alike}: {interval(found['before'], runs)} / {interval(found['after'], runs)}")
    for part, mean in enumerate((0.97, 0.98)):
        means, _ = rows.session_means(generator(15 + part), 200, 1200, 20, 0.3, mean)
        waits = bets.first(bets.log_evidence(means, 0.95), LOG_20)
        print(
            f"  power, {mean} in sessions of 20, .3: {np.isfinite(waits).mean():.0%} promoted within 24,000 requests, median "
            f"{20 * np.median(waits):,.0f} requests"
        )
    found = rows.big_users(generator(17), runs=runs)
    print(
        f"  100 Zipf users, .3, mean over users at the bound: {interval(found['before'], runs)} by requests / "
        f"{interval(found['after'], runs)} with one observation a user"
    )
    found = rows.harmless_sessions(generator(18), runs=runs)
    print(
        f"  harm at .90, true .95, sessions of 20, .3: {interval(found['before'], runs)} / {interval(found['after'], runs)}"
    )


def by_days(hourly: float, found: dict[str, float], runs: int) -> str:
    """Before and now, side by side."""
    now = f"by cycles {interval(found['promoted'], runs)}, held {found['held']:.1%}"
    return f"looked at every hour {interval(hourly, runs)}; {now}"


def days(scale: int) -> None:
    runs = 500 * scale
    print("\nDays, at the bound .95 on average: promoted within a week; held because they differ")
    for part, swing in enumerate((0.0, 0.01, 0.03)):
        for a_day in (2000, 86_400):
            found = rows.days(generator(23 + part), a_day=a_day, swing=swing, runs=runs)
            hourly = rows.hourly(generator(20 + part), a_day=a_day, swing=swing, runs=runs)
            print(f"  rhythm +-{swing:g}, {a_day} a day: {by_days(hourly, found, runs)}")
    for part, apart in enumerate((0.002, 0.005, 0.01)):
        found = rows.days(generator(30 + part), a_day=20_000, apart=apart, runs=runs)
        hourly = rows.hourly(generator(33 + part), a_day=20_000, apart=apart, runs=runs)
        print(f"  days' means apart by {apart:g}, 20,000 a day: {by_days(hourly, found, runs)}")
    for part, (mean, a_day) in enumerate(((0.97, 2000), (0.98, 2000), (0.97, 500))):
        found = rows.days(generator(35 + part), a_day=a_day, mean=mean, swing=0.01, runs=runs)
        print(
            f"  power, {mean}, +-.01, {a_day} a day: promoted {found['promoted']:.1%}, median day {found['days']:.0f}, held "
            f"{found['held']:.1%}"
        )


def harm(scale: int) -> None:
    print(
        "\nA drop of what is served below .90, sessions' first audits at .97 before: median audits until found (alpha .002)"
    )
    for part, (then, name) in enumerate(((0.0, "all wrong"), (0.5, ".5"), (0.8, ".8"))):
        found = [rows.drops(generator(40 + part), healthy=healthy, then=then) for healthy in (0, 100, 1000)]
        print(
            f"  {name}: "
            + ", ".join(f"{value:.0f} after {n} healthy" for value, n in zip(found, (0, 100, 1000), strict=True))
        )
    runs = 200 * scale
    xs = (generator(45).random((runs, 2000)) < 0.9).astype(float)
    alarms = np.isfinite(bets.first(bets.log_drop(xs, 0.9), math.log(200))).mean()
    print(f"  at the bound, 2,000 audits, alpha .005: alarms {interval(float(alarms), runs)}")
    runs = 100 * scale
    print(
        "\nFailures in bursts of 5, Zipf users, 20,000 pairs, alpha .005: alarms by every request / by first one-sided failures"
    )
    cases = (
        (0.005, 0.005, 1000),
        (0.02, 0.02, 1000),
        (0.02, 0.02, 200),
        (0.025, 0.005, 1000),
        (0.025, 0.005, 200),
        (0.04, 0.02, 1000),
    )
    for part, (student, teacher, users) in enumerate(cases):
        found = rows.failures(generator(50 + part), student=student, teacher=teacher, users=users, runs=runs)
        print(
            f"  student {student:g}, teacher {teacher:g}, {users} users: {interval(found['every'], runs)} / "
            f"{interval(found['first'], runs)}, median {found['pairs']:,.0f} pairs"
        )


def others(scale: int) -> None:
    runs = 300 * scale
    found = rows.retries(generator(60), runs=runs)
    print(
        f"\nA student at the bound tried ten times, 300 pairs each: {interval(found['before'], runs)} with an alpha a try / "
        f"{interval(found['after'], runs)} from one account"
    )
    print("Known to be below .95 (futility, alpha .05), median observations:")
    for part, true in enumerate((0.93, 0.92, 0.91)):
        waits = bets.waits(true, 0.95, generator(61 + part), runs=300, at_most=10_000, harm=True)
        print(f"  true {true}: {np.median(waits):,.0f}")
    print("Judged pairs of a student as good as the teacher, .50 against .45, median pairs:")
    for part, ties in enumerate((0.1, 0.8)):
        print(f"  {ties:.0%} ties: {np.median(bets.score_waits(ties, 0.45, generator(65 + part), runs=300)):,.0f}")


def policies(scale: int) -> None:
    runs = 10 * scale
    print(
        f"\nThe whole policy: ledger and machine, looked at every minute, one request a second, cycle none ({runs} runs each)"
    )
    steps = [
        {"shadow": {"pairs": 300}},
        {"canary": {"weight": 1, "dwell": "30m"}},
        {"canary": {"weight": 5, "dwell": "30m"}},
    ]
    steps += [{"canary": {"weight": 50, "dwell": "30m"}}, "full"]
    spec = read(
        {
            "route": "r",
            "student": "s@3f9c1a",
            "steps": steps,
            "cycle": "none",
            "on_inconclusive": "rollback",
            "audit": 0.2,
        }
    )
    users = {"users": 1000, "session": 5, "alike": 0.3}
    worlds = {
        "every served answer wrong, copies .98": Scenario(0.98, served_agreement=0.0),
        "the same, 20 users, sessions of 20, canary 50 only": Scenario(
            0.98, served_agreement=0.0, users=20, session=20
        ),
        "right until full, then wrong": Scenario(0.98, breaks_at=10_000, broken_agreement=0.0),
        "the same, all defaults": Scenario(0.98, breaks_at=10_000, broken_agreement=0.0),
        "half of what is served wrong": Scenario(0.98, served_agreement=0.5),
        "at the bound .95": Scenario(0.95, horizon_s=6 * 3600.0),
        "at the bound, 1,000 users, sessions of 5, .3": Scenario(0.95, horizon_s=6 * 3600.0, **users),
        ".985": Scenario(0.985, horizon_s=12 * 3600.0),
        ".985, 1,000 users, sessions of 5, .3": Scenario(0.985, horizon_s=12 * 3600.0, **users),
        ".90": Scenario(0.90, horizon_s=6 * 3600.0),
    }
    defaults = read({"route": "r", "student": "s@3f9c1a", "cycle": "none"})
    few = replace(spec, steps=tuple(step for step in spec.steps if step.name not in ("canary-1", "canary-5")))
    for part, (name, world) in enumerate(worlds.items()):
        # One in a hundred of 20 users is nobody.
        asked = defaults if name.endswith("all defaults") else few if world.users == 20 else spec
        found = policy.many(asked, world, generator(70 + part), runs)
        print(
            f"  {name}: promoted {found.promoted:.0%}, rolled back {found.rolled_back:.0%}, held {found.held:.0%}; median "
            f"{found.median_hours:.1f} h, {found.median_student_answers:,.0f} answers by the student, {found.median_wrong:,.0f} "
            "of them wrong",
            flush=True,
        )


def peers(scale: int) -> None:
    runs = 100 * scale
    print(
        f"\nOther systems' rules on the same streams, {others_rules.PAIRS:,} pairs, looked at every {others_rules.LOOK}: alarms"
    )
    for name, found in others_rules.alarms(generator(80), runs).items():
        shown = {rule: interval(found[rule], runs) if rule in found else "not installed" for rule in others_rules.RULES}
        print(f"  {name}: " + "; ".join(f"{rule} {share}" for rule, share in shown.items()), flush=True)


def labels(scale: int) -> None:
    runs = 1000 * scale
    print(
        f"\nCorrectness by 100 gold labels, one of a block of 20, at each look: certified, by gold alone ({runs} runs)"
    )
    worlds = {
        "at the bound .8, guess right 90%": (World(0.8), 0.8, 100),
        "at .8, guess right 50%: worth nothing": (World(0.8, 0.5), 0.8, 100),
        "at .8, guess always says right": (World(0.8, flattering=True), 0.8, 100),
        "at .8, what is in doubt drawn more often": (World(0.8, 0.97, doubtful=True), 0.8, 100),
        "at .8, the share wanders, bad blocks first": (World(0.8, worst_first=True), 0.8, 100),
        "at .9": (World(0.9), 0.9, 100),
        "at .95": (World(0.95), 0.95, 100),
        "above .8: .92, guess right 90%": (World(0.92), 0.8, 100),
        "above .8: .92, guess right 50%": (World(0.92, 0.5), 0.8, 100),
        "above .95: .98, 100 labels": (World(0.98), 0.95, 100),
        "above .95: .98, 300 labels": (World(0.98), 0.95, 300),
        "above .95: .98, 1,000 labels": (World(0.98), 0.95, 1000),
    }
    for part, (name, (world, p0, most)) in enumerate(worlds.items()):
        both = [
            correctness.certified(world, generator(80 + part), p0=p0, labels=most, runs=runs, gold_alone=alone)
            for alone in (False, True)
        ]
        print(f"  {name}: {interval(both[0], runs)}, gold alone {interval(both[1], runs)}")
    runs = 200 * scale
    print(
        f"The same by the queue itself: the real ledger, two days, sessions of 4 that correlate by .3, 100 labels ({runs} runs)"
    )
    steps = {
        "at .8, 150 sessions a day": labelled.Step(0.8),
        "at .8 on average, the first half of a day 15 points better": labelled.Step(0.8, swing=0.15),
        "at .8 with wrong answers skipped half the time": labelled.Step(0.8, skipped=0.5),
        "above .8: .92, 150 sessions a day": labelled.Step(0.92),
        "above .8: .92, 600 sessions a day": labelled.Step(0.92, sessions=600, length=2),
    }
    for part, (name, step) in enumerate(steps.items()):
        print(f"  {name}: {interval(labelled.certified(step, generator(95 + part), runs=runs), runs)}", flush=True)


def outcomes(scale: int) -> None:
    runs = 500 * scale
    print(f"\nOutcomes of users, matched one with one, looked at after each of 3,000 pairs ({runs} runs)")
    worlds = {
        "a tenth lost, of 60%, margin .1": Arms(0.6, 0.9, 0.1),
        "a tenth lost, of 5%, margin .1": Arms(0.05, 0.9, 0.1),
        "a tenth lost, of 60% that swing by 20 points, margin .1": Arms(0.6, 0.9, 0.1, swing=0.2),
        "nobody says anything, margin .1": Arms(0.0, 1.0, 0.1),
        "nothing lost, of 60%, margin .1": Arms(0.6, 1.0, 0.1),
        "nothing lost, of 60%, margin .2": Arms(0.6, 1.0, 0.2),
        "nothing lost, of 5%, margin .2": Arms(0.05, 1.0, 0.2),
    }
    for part, (name, arms) in enumerate(worlds.items()):
        print(f"  {name}: certified {interval(certified(arms, generator(110 + part), 3000, runs), runs)}")
    for part, lost in enumerate((0.0, 0.15, 0.5)):
        found = rolled_back(Arms(0.6, 1 - lost, 0.15), generator(120 + part), 3000, runs)
        print(f"  harm, margin .15, {lost:g} of 60% lost, alpha .01: {interval(found, runs)}")


PARTS: tuple[Callable[[int], None], ...] = (pairs, sessions, days, harm, others, peers, policies, labels, outcomes)


def main() -> None:
    full = sys.argv[1:2] == ["full"]
    wanted = sys.argv[2:] or [part.__name__ for part in PARTS]
    print(f"{'about half an hour' if full else 'about five minutes'} on two free cores")
    for part in (one for one in PARTS if one.__name__ in wanted):
        began = time.perf_counter()
        part(4 if full else 1)
        print(f"  [{part.__name__}: {time.perf_counter() - began:.0f} s]", flush=True)


if __name__ == "__main__":
    main()
