"""A threshold as it is learnt, stored, applied and withdrawn."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from graduand.rollout.hybrid.learning import (
    FIRST_FIT,
    LAST_FIT,
    MOST_STARTS,
    Learning,
    advance,
    due,
    learning_from_dict,
    next_at,
    released_by,
    withdrawn,
)
from graduand.rollout.hybrid.pairs import Pair, half
from graduand.rollout.hybrid.scorer import Reads, scorer_from_dict, vector_of
from tests.rollout.hybrid.worlds import TERMS, learnt, shares, sure_or_not

RNG = np.random.default_rng


def answer(*margins: float) -> dict[str, Any]:
    content = [
        {"token": "yes", "logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": -0.1 - margin}]}
        for margin in margins
    ]
    return {"choices": [{"logprobs": {"content": content}}]}


def through(known: Learning, reads: Reads | None = None) -> Any:
    """The scorer that the data plane makes of it."""
    return scorer_from_dict(json.loads(json.dumps(released_by(known, reads))))


def test_what_is_learnt_is_applied_until_it_expires() -> None:
    known = learnt(sure_or_not(RNG(3), 1500))
    assert known.threshold is not None
    scorer = through(known)
    assert scorer.confident(answer(5.5), now=120.0)
    assert not scorer.confident(answer(0.1), now=120.0)
    assert not scorer.confident(answer(5.5), now=150.0)  # expired
    assert not scorer.confident({}, now=120.0)
    assert "expired" in known.threshold.why_not("s@3f9c1a", 150.0)
    assert "not for other@3f9c1a" in known.threshold.why_not("other@3f9c1a", 120.0)
    assert known.threshold.why_not("s@3f9c1a", 149.0) == ""


def test_evidence_goes_on_after_the_first_provable_cut() -> None:
    rng = RNG(4)
    margins = rng.uniform(0, 6, 12_000)
    wrong = rng.random(12_000) < 0.15 * (1 - margins / 6) ** 2
    pairs = [
        Pair(at, 0.0, (m,) * 4, not bad)
        for at, (m, bad) in enumerate(zip(margins.tolist(), wrong.tolist(), strict=True))
    ]
    known = [learnt(pairs[:n]) for n in (3000, 12_000)]
    coverage = [one.threshold.coverage for one in known if one.threshold is not None]
    assert len(coverage) == 2
    assert coverage[-1] > coverage[0] + 0.05
    assert len({one.starts for one in known}) == len({one.frozen.fitted_on for one in known if one.frozen}) == 1


def test_the_promise_holds_over_all_looks() -> None:
    """True disagreement among what is released is at most the risk, but for delta of the runs; and coverage is there."""
    found = [learnt(sure_or_not(RNG(seed), 4000)) for seed in range(40)]
    fresh = sure_or_not(RNG(10_000), 10_000)
    broken = covered = 0.0
    for known in found:
        assert known.frozen is not None
        assert known.threshold is not None
        cut = known.threshold.cuts[""]
        out = [one.agreed for one in fresh if known.frozen.scorer.score(one.vector) >= cut]
        broken += 1 - np.mean(out) > 0.05
        covered += len(out) / len(fresh)
    assert broken / 40 <= 0.1
    assert covered / 40 > 0.7


def test_a_student_that_is_never_good_enough_gets_none() -> None:
    def hopeless(rng: np.random.Generator) -> bool:
        margins, wrong = rng.uniform(0, 6, 4000).tolist(), rng.random(4000) < 0.06
        pairs = [
            Pair(at, 0.0, (m,) * 4, not bad) for at, (m, bad) in enumerate(zip(margins, wrong.tolist(), strict=True))
        ]
        return learnt(pairs).threshold is not None

    assert shares(40, hopeless) <= 0.1
    assert learnt([]) == Learning()


def test_whoever_is_fitted_on_proves_nothing() -> None:
    """Users who were fitted on never prove a cut, however many pairs of theirs there are; those who come later do."""
    users = [unit for unit in range(20_000) if half(unit) == "fit"]
    rows = sure_or_not(RNG(1), 4000)
    few = [replace(one, unit=users[at % 100]) for at, one in enumerate(rows)]
    assert learnt(few).threshold is None
    fresh = [*few[:FIRST_FIT], *(replace(one, unit=users[100 + at]) for at, one in enumerate(rows[FIRST_FIT:]))]
    assert learnt(fresh).threshold is not None


def test_a_fit_waits_for_rare_classes_and_not_for_ever() -> None:
    """The fitting half alone says when: whoever looks, however often, finds the same start."""
    rare = [
        replace(one, student="a", teacher="b" if at % 9 == 0 else "a")
        for at, one in enumerate(sure_or_not(RNG(1), 3000))
    ]
    terms = replace(TERMS, classes="teacher")
    known, seldom = learnt(rare[:1500], terms), Learning()
    while seldom.frozen is None:
        seldom = advance(seldom, rare[:1500], terms, 100.0)
    assert known.frozen is not None
    assert known.frozen.fitted_on == seldom.frozen.fitted_on
    assert 600 < known.frozen.fitted_on < LAST_FIT
    assert "of teacher: b in the half that is fitted on" in learnt(rare[:300], terms).said
    never = [replace(one, student="a", teacher="b" if at == 5 else "a") for at, one in enumerate(rare)]
    frozen = learnt(never, terms).frozen
    assert frozen is not None
    assert LAST_FIT <= frozen.fitted_on < 1.25 * LAST_FIT


def test_between_looks_nothing_is_done() -> None:
    pairs, known = sure_or_not(RNG(7), 1000), Learning()
    for n in range(len(pairs) + 1):
        before, known = known, advance(known, pairs[:n], TERMS, 100.0)
        assert (known != before) <= due(before, n)
    assert known == learnt(pairs)


def test_it_comes_back_from_plain_data() -> None:
    pairs = sure_or_not(RNG(7), 3000)
    for n in (0, FIRST_FIT, 1000):
        known = learnt(pairs[:n])
        again = learning_from_dict(json.loads(json.dumps(known.to_dict())))
        assert again == known
        assert learnt(pairs, start=again) == learnt(pairs)


def test_what_an_earlier_version_wrote_releases_nothing() -> None:
    old = {"threshold": {"value": 0.5, "expires_at": 1e12}, "calibration": {"kind": "logistic", "bias": 0.0}}
    assert learning_from_dict(old) == learning_from_dict(None) == Learning()
    before = {name: value for name, value in learnt(sure_or_not(RNG(3), 1500)).to_dict().items() if name != "tried"}
    assert learning_from_dict(before) == Learning(1)
    assert not scorer_from_dict(old).confident(answer(9.0), now=0.0)


def test_a_start_without_proof_gives_way_to_another_on_fresh_pairs() -> None:
    rng = RNG(2)
    pairs = [Pair(at, 0.0, (float(rng.uniform(0, 6)),) * 4, bool(rng.random() > 0.3)) for at in range(20_000)]
    known, starts = Learning(), []
    while due(known, len(pairs)):
        at = next_at(known)
        known = advance(known, pairs[:at], TERMS, 0.0)
        assert known.frozen is not None
        if not known.frozen.looks:
            starts.append(known.frozen.fitted_on)
    assert starts == sorted(starts)
    assert 3 <= len(starts) == known.starts <= MOST_STARTS
    assert all(later >= 4 * one for one, later in pairwise(starts))


def test_a_withdrawn_cut_is_not_served_and_costs_a_start() -> None:
    known = withdrawn(learnt(sure_or_not(RNG(3), 1500)), "teacher: 1")
    assert released_by(known, None) is None
    assert "teacher: 1" in known.said
    again = learnt(sure_or_not(RNG(5), 1500, first=90_000), start=known)
    assert again.starts == known.starts + 1
    assert again.threshold is not None
    assert again.threshold.delta == pytest.approx(0.1 * 0.8 * 0.2)


def labelled(rng: np.random.Generator, count: int) -> list[Pair]:
    """Half is called a, half b. Sure answers are right; of b's 1% are wrong however sure, of a's none."""
    found = []
    for at in range(count):
        label, margin = ("a", "b")[int(rng.random() < 0.5)], float(rng.uniform(0, 6))
        wrong = rng.random() < (max(0.0, 0.5 - margin / 3) if label == "a" else 0.01)
        other = {"a": "b", "b": "a"}[label]
        found.append(Pair(at, 0.0, (margin,) * 4, not wrong, label, other if wrong else label))
    return found


@pytest.mark.parametrize("classes", ["student", "teacher"])
def test_each_label_has_its_own_cut(classes: Any) -> None:
    known = learnt(labelled(RNG(1), 12_000), replace(TERMS, classes=classes))
    assert known.threshold is not None
    assert known.threshold.cuts["b"] < known.threshold.cuts["a"] <= 1
    reads = Reads({"a": "a", "b": "b"})
    scorer = through(known, reads)
    shown = [
        {"choices": [{**answer(m)["choices"][0], "message": {"content": said}}]}
        for m, said in ((0.1, "a"), (5.9, "a"), (5.9, "b"), (5.9, "c"))
    ]
    assert [scorer.confident(one, now=120.0) for one in shown] == [False, True, True, False]


def test_traffic_with_a_rhythm_proves_nothing_that_is_not_so() -> None:
    # Half of what it is unsure of is wrong, and all of that comes at even places.
    margins = [0.2 if place % 5 == 0 else 6.0 for place in range(1600)]
    known = learnt([Pair(at, 0.0, (m,) * 4, at % 10 != 0) for at, m in enumerate(margins)])
    assert known.threshold is not None
    assert 0.75 < known.threshold.coverage < 0.85  # the sure ones, and only they
    assert not through(known).confident(answer(0.2), now=120.0)


@pytest.mark.parametrize(
    "strange",
    [
        {}, {"choices": None}, {"choices": []}, {"choices": [7]}, {"choices": [{}]}, {"choices": [{"logprobs": 3}]},
        {"choices": [{"logprobs": {"content": 3}}]}, {"choices": [{"logprobs": {"content": [3]}}]},
        {"choices": [{"logprobs": {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": []}}]},
        {"choices": [{}, {}]},
        {"choices": [{**answer(5.0)["choices"][0], "message": {"tool_calls": [{}]}}]},
    ],
)  # fmt: skip
def test_strange_answers_have_no_features(strange: dict[str, object]) -> None:
    assert vector_of(strange) is None


def test_completions_have_another_shape() -> None:
    logprobs = {"tokens": ["yes"], "token_logprobs": [-0.1], "top_logprobs": [{"yes": -0.1, "no": -2.1}]}
    assert vector_of({"choices": [{"logprobs": logprobs}]}) == pytest.approx([2.0, 2.0, 2.0, -0.1])
