"""What a rollout will take at today's traffic, before it is started; and what its policy does to students, simulated."""

import logging
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from graduand.gateway.errors import ConfigError, GraduandError
from graduand.gateway.logs.reading import Source
from graduand.gateway.model.routes import Budget
from graduand.rollout import planning, wording
from graduand.rollout.answers.tasks import Task
from graduand.rollout.assignment import BUCKETS, DAY_S
from graduand.rollout.gates.account import draw
from graduand.rollout.gates.cycles import LEAST, SECONDS
from graduand.rollout.simulate import outcomes
from graduand.rollout.simulate.correctness import World, certified
from graduand.rollout.simulate.habits import Habits, Request, cost, habits
from graduand.rollout.simulate.habits import because as why
from graduand.rollout.simulate.policy import Scenario, many
from graduand.rollout.spec.spec import GateSpec, Labels, Outcome, Spec, Step, audit_share

logger = logging.getLogger("graduand")

Json = dict[str, Any]
SPANS_S = (3600.0, 86400.0)
SERVED = """SELECT count(*), min(time), avg(usage.prompt_tokens + usage.completion_tokens) FROM log
WHERE route = ? AND role = 'served' AND time > ? AND dt >= ?"""
HABITS_S = 7 * 86400.0
ASKED = """SELECT time, unit FROM log WHERE route = ? AND role = 'served' AND time > ? AND dt >= ?
ORDER BY time DESC LIMIT 200000"""
# What is taken for the correlation within a user's day where the log has no pairs to tell it by.
ALIKE = 0.3
PAIRS_AT_MOST = 16_384
PLAYED_A_DAY = 5_000
LOOK_S = 600.0
LABEL_RUNS = 200
OUTCOME_USERS, OUTCOME_RUNS = 1000, 100


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the end of the log has of a route."""

    per_s: float
    tokens: float  # a request, prompt and answer


def copies_a_day(budget: Budget, seen: Traffic | None) -> float:
    """What a budget allows; tokens are reckoned by those of the requests in the log, if there are any."""
    most = float(budget.requests_per_day or math.inf)
    if budget.tokens_per_day and seen is not None and seen.tokens > 0:
        most = min(most, budget.tokens_per_day / seen.tokens)
    return most


def traffic(source: Source, route: str, now: float | None = None) -> Traffic | None:
    """Requests on a route, in the last hour or else the last day; None without any or without the log."""
    from graduand.gateway.logs.query import Log

    now = time.time() if now is None else now
    try:
        with Log(source) as log:
            for span_s in SPANS_S:
                day = time.strftime("%Y-%m-%d", time.gmtime(now - span_s))
                count, first, tokens = log.query(SERVED, [route, now - span_s, day]).fetchone()
                if count >= 2:
                    return Traffic(count / max(now - first, 1e-3), float(tokens or 0.0))
    except GraduandError as error:
        logger.warning("today's traffic is not known: %s", error)
    return None


def habits_of(source: Source, route: str, now: float | None = None) -> Habits | None:
    """Who asked how much in the last week; None of too few requests or without the log."""
    from graduand.gateway.logs.query import Log

    now = time.time() if now is None else now
    day = time.strftime("%Y-%m-%d", time.gmtime(now - HABITS_S))
    try:
        with Log(source) as log:
            rows = log.query(ASKED, [route, now - HABITS_S, day]).fetchall()
    except GraduandError as error:
        logger.warning("the last week's traffic is not known: %s", error)
        return None
    return habits([Request(float(at), None if unit is None else int(unit)) for at, unit in reversed(rows)])


@dataclass(frozen=True, slots=True)
class Sampling:
    """Of a shadow step's requests, the share that is compared, and how many in a day at most."""

    share: float = 1.0
    most_per_day: float = float("inf")

    def seconds(self, pairs: int, per_s: float) -> float:
        """How long so many pairs take at so many requests a second; the days' pairs come at their beginnings.

        >>> Sampling(0.5, 1000).seconds(1200, 1.0) == 86400 + 400
        True
        """
        days = (pairs - 1) // self.most_per_day
        if self.share * per_s * 86400 <= self.most_per_day or not days:
            return pairs / (self.share * per_s)
        return days * 86400 + (pairs - days * self.most_per_day) / (self.share * per_s)


def sampling(spec: Spec, task: Task, shadow_share: float, paid_per_day: float = math.inf) -> Sampling:
    """What a rollout compares: shadow copies; beside an incumbent the audited share; of free text what is judged."""
    share = spec.audit if spec.keeps_incumbent else shadow_share
    if task.judge is None:
        return Sampling(share, paid_per_day)
    most = min(task.judge.max_per_day, paid_per_day * task.judge.sample)
    return Sampling(share * task.judge.sample, most)


def plan(
    spec: Spec, per_s: float | None, agreement: float | None, shadow: Sampling = Sampling(),
    known: Habits | None = None,
) -> Json:  # fmt: skip
    """Pairs and time for each step, and what will probably hold it up. `known` is who asked how much of late."""
    gates = [_gate(gate, agreement, known) for gate in spec.gates]
    pairs = None if any(gate["pairs"] is None for gate in gates) else max(gate["pairs"] for gate in gates)
    steps = [_step(step, per_s, shadow, pairs, spec) for step in spec.steps]
    seconds = [step["seconds"] for step in steps]
    timed = [value for value in seconds if value is not None]
    return {
        "route": spec.route, "student": spec.student, "spec_hash": spec.digest, "requests_per_s": per_s,
        "gates": gates, "steps": steps, "seconds": sum(timed) if len(timed) == len(seconds) else None,
        "blocker": _blocker(steps, gates), "warnings": [*_unreachable(steps, gates), *_warnings(spec, per_s)],
    }  # fmt: skip


def _gate(gate: GateSpec, agreement: float | None, known: Habits | None) -> Json:
    """Pairs with which nine in ten students of the assumed agreement have certified."""
    p0 = gate.start.get("p0")
    if not gate.signal.startswith("agreement") or p0 is None:
        return {"name": gate.name, "assumed": None, "pairs": 0, "because": ""}
    assumed = agreement if agreement is not None else 1 - (1 - p0) * 0.4
    need = gate.log_threshold + draw(()).log_more
    pairs = planning.pairs_needed(p0, assumed, need, 0.9, PAIRS_AT_MOST)
    because = ""
    if known is not None and pairs is not None and known.length > 1:
        alike = replace(known, alike=ALIKE if known.alike is None else known.alike)
        taken = cost(alike, p0, assumed, need)
        because, pairs = why(alike, taken), taken.nine_in_ten
        if known.alike is None and because:
            because += (
                f"; a user's requests are taken to correlate by {ALIKE:g}, for the log has no pairs to tell it by"
            )
    return {"name": gate.name, "p0": p0, "assumed": assumed, "pairs": pairs, "because": because}


def _step(step: Step, per_s: float | None, shadow: Sampling, pairs: int | None, spec: Spec) -> Json:
    """What a step waits for: its requests, the observations of its proof, whole cycles, or its dwell."""
    sampling = shadow if step.kind == "shadow" else Sampling(step.weight_bp / BUCKETS)
    compared = (
        shadow if step.kind == "shadow" else Sampling(step.weight_bp / BUCKETS * audit_share(spec, step.weight_bp))
    )
    proof = (pairs or 0) if step.proof else 0
    wanted = max(step.n_min, proof) if step.kind == "shadow" else step.n_min
    if per_s is None or not per_s * sampling.share:
        return {
            "name": step.name, "observations": wanted, "proof": proof, "seconds": None, "waits_for": "dwell",
            "too_slow": False, "t_max_s": step.t_max_s,
        }  # fmt: skip
    span = SECONDS[spec.cycle]
    times = {
        "dwell": step.dwell_s,
        "traffic": sampling.seconds(wanted, per_s),
        "audits": compared.seconds(proof, per_s) if proof else 0.0,
    }
    waits = max(times, key=lambda name: times[name])
    seconds = times[waits]
    if waits == "traffic" and seconds > wanted / (per_s * sampling.share):
        waits = "the day's copies"
    if step.proof and span:
        whole = max(LEAST, math.ceil(seconds / span)) * span
        waits, seconds = ("whole cycles" if seconds <= LEAST * span else waits), whole
    return {
        "name": step.name, "observations": wanted, "proof": proof, "seconds": seconds, "waits_for": waits,
        "too_slow": seconds > step.t_max_s, "t_max_s": step.t_max_s,
    }  # fmt: skip


def _unreachable(steps: list[Json], gates: list[Json]) -> list[str]:
    """The steps that cannot reach their proof in their time, and why."""
    because = next((gate["because"] for gate in gates if gate["because"]), "")
    return [
        f"{step['name']} cannot reach proof in its time ({wording.span(step['t_max_s'])}): at your traffic {step['proof']:,} "
        f"pairs, {wording.span(step['seconds'])}" + f", {because}" * bool(because)
        for step in steps
        if step["too_slow"] and step["proof"]
    ]


def _blocker(steps: list[Json], gates: list[Json]) -> str:
    for gate in gates:
        if gate["pairs"] is None:
            return (
                f"{gate['name']}: a student that agrees {gate['assumed']:.3g} of the time would hardly ever prove more "
                f"than {gate['p0']:g}; ask for less, or for a better student"
            )
    for step in steps:
        if step["too_slow"]:
            took = wording.span(step["seconds"])
            return f"{step['name']}: {took} at this traffic, longer than its t_max; it would be held as inconclusive"
    timed = [step for step in steps if step["seconds"] is not None]
    if not timed:
        return "traffic: the log has none on this route"
    longest = max(timed, key=lambda step: float(step["seconds"]))
    return f"{longest['name']}: {wording.span(longest['seconds'])}, waiting for {longest['waits_for']}"


def _warnings(spec: Spec, per_s: float | None) -> list[str]:
    found = []
    unproved = [step.name for step in spec.steps if not step.proof]
    if unproved:
        found.append(f"{', '.join(unproved)}: no proof is asked for there; harm gates and the path test pass them")
    canaries = [step for step in spec.steps if step.kind == "canary"]
    if not canaries:
        found.append("no canary step: errors and latency are never compared beside the teacher")
    if per_s is not None and canaries:
        answered = sum(max(step.n_min, per_s * step.dwell_s * step.weight_bp / 10_000) for step in canaries)
        if answered < 1000:
            found.append(
                f"the canary steps give the student about {answered:.0f} requests: too few to see twice the errors; "
                "give them more requests if errors matter"
            )
    if not any(gate.signal in ("agreement", "score") for gate in spec.gates):
        found.append("no gate looks at the agreement of all answers")
    for gate in spec.gates:
        if gate.signal == "incumbent":
            found.append(_duel(gate))
        if gate.labels is not None:
            found.append(_labels(gate, gate.labels, spec))
        if gate.outcome is not None:
            found.append(_outcome(gate, gate.outcome))
    return found


def _outcome(gate: GateSpec, asked: Outcome) -> str:
    """How many users it takes to hear that nothing is lost, where half of them say so."""
    rng, alpha = np.random.default_rng(1), math.exp(-gate.log_threshold - draw(()).log_more)
    arms = outcomes.Arms(0.5, 1.0, asked.margin)
    power = outcomes.certified(arms, rng, OUTCOME_USERS, OUTCOME_RUNS, alpha)
    return (
        f"{gate.name}: users have {wording.span(asked.within_s)} to say something; where half of them say yes in both arms, "
        f"{OUTCOME_USERS} users of each prove that no more than {asked.margin:g} is lost in {power:.0%} of {OUTCOME_RUNS} "
        "simulated steps; the rarer they speak, the more it takes"
    )


def _labels(gate: GateSpec, asked: Labels, spec: Spec) -> str:
    """What the gate of correctness asks of people, and how likely that is to prove anything."""
    steps = [step.name for step in spec.steps if step.proof and step.kind in gate.needed_in]
    p0 = float(gate.start["p0"])
    true = 1 - (1 - p0) * 0.4
    alpha = math.exp(-gate.log_threshold - draw(()).log_more)
    power = certified(World(true), np.random.default_rng(1), p0=p0, labels=asked.most, runs=LABEL_RUNS, alpha=alpha)
    who = (
        "people"
        if asked.within_s is None
        else f"outcomes, {wording.span(asked.within_s)} after an answer at the latest,"
    )
    return (
        f"{gate.name}: {who} label {asked.most} drawn sessions in each of {', '.join(steps)}; a student that is right "
        f"{true:.1%} of the time, where the guess from the teacher is right nine times of ten, is proved to be above {p0:g} by "
        f"that many in {power:.0%} of {LABEL_RUNS} simulated steps"
    )


def _duel(gate: GateSpec) -> str:
    """How much the gate about the incumbent asks for, as far as anybody can know."""
    p0 = float(gate.start["p0"])
    wins = p0 + (1 - p0) / 2
    pairs = planning.pairs_needed(p0, wins, gate.log_threshold + draw(()).log_more, 0.9, PAIRS_AT_MOST)
    return (
        f"{gate.name}: a student that wins {wins:.0%} of the requests on which the two students differ needs about {pairs} "
        "such requests; how long they take to come together, only the traffic can tell"
    )


def simulate(spec: Spec, scenario: Scenario, runs: int, seed: int) -> dict[str, Json]:
    """The policy against the student described or logged, one exactly at the bound, and one that does harm.

    Where whole cycles are waited for, a run is days long, and no more than PLAYED_A_DAY requests a day are played: more would
    only prove more (`requests_per_s` says what was played).
    """
    if any(gate.labels is not None for gate in spec.gates):
        raise ConfigError(
            "a rollout with a gate of correctness cannot be simulated: nobody labels what is made up; leave that gate out"
        )
    if spec.outcomes:
        raise ConfigError(
            "a rollout with an outcome gate cannot be simulated: nobody says anything of what is made up; leave that gate out"
        )
    if spec.keeps_incumbent:
        raise ConfigError("a rollout with an incumbent gate cannot be simulated: nothing says how often the two differ")
    rng = np.random.default_rng(seed)
    if SECONDS[spec.cycle]:
        per_s = min(scenario.requests_per_s, PLAYED_A_DAY / DAY_S)
        blocks = None if scenario.blocks is None else scenario.blocks.thinned(PLAYED_A_DAY)
        scenario = replace(scenario, requests_per_s=per_s, look_s=max(scenario.look_s, LOOK_S), blocks=blocks)
    p0 = next((float(gate.start["p0"]) for gate in spec.gates if gate.signal == "agreement"), 0.95)
    harm = next((gate.p0 for gate in spec.harm if gate.signal == "agreement" and gate.p0 is not None), p0 - 0.05)
    beside = Scenario(
        p0, separation=scenario.separation, requests_per_s=scenario.requests_per_s, look_s=scenario.look_s,
        blocks=scenario.blocks, alike=scenario.alike, swing=scenario.swing,
    )  # fmt: skip
    worlds = {
        "described": scenario,
        "well above": replace(beside, agreement=1 - (1 - p0) * 0.4),
        "at the bound": beside,
        "harmful": replace(beside, agreement=max(0.01, harm - 0.05)),
    }
    summaries = {}
    for name, world in worlds.items():
        played = many(spec, world, rng, runs)
        shown = float(np.mean(world.agreement))
        summaries[name] = {"agreement": shown, "requests_per_s": world.requests_per_s, **asdict(played)}
    return summaries
