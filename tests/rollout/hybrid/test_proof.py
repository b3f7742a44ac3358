"""Evidence for policies: the figures of its source, and the cases in which pooled pairs would lie."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.hybrid import HybridError
from graduand.rollout.hybrid.pairs import Pair, cells, half, pair_from_dict
from graduand.rollout.hybrid.proof import peak, prove
from tests.rollout.hybrid.worlds import shares

RISK, DELTA = 0.05, 0.1


def bar(p: float, runs: int) -> float:
    return 4 * math.sqrt(p * (1 - p) / runs)


# `certify` of a constant-bet mixture in plain numpy gave these for .975 against .95, after so many.
@pytest.mark.parametrize(("n", "log_e"), [(100, 0.06106), (400, 2.257538), (800, 5.115857), (1200, 8.111375)])
def test_evidence_is_that_of_the_reference(n: int, log_e: float) -> None:
    agreed = np.array([at % 40 != 7 for at in range(n)])
    bets = np.linspace(0.02, 0.98, 25)
    found, observations = peak(np.ones(n, bool), agreed, np.arange(n), np.ones(n), [n], RISK, bets)
    assert (found, observations) == (pytest.approx(log_e, abs=1e-5), n)


def one_cut(pairs: list[Pair], looks: list[int], **more: Any) -> bool:
    """Whether the policy that releases everything is proved."""
    given = {"risk": RISK, "delta": DELTA, "sides": frozenset(), **more}
    return prove(pairs, np.ones(len(pairs)), [(0.5,)], ("",), looks, **given).policy == 0


def sessions(rng: np.random.Generator, users: int, length: int, risk: float, icc: float) -> list[Pair]:
    """Each user asks `length` times in a row; users differ in how often the student is wrong for them."""
    own = rng.beta(risk * (1 / icc - 1), (1 - risk) * (1 / icc - 1), users)
    wrong = rng.random((users, length)) < own[:, None]
    return [Pair(user, float(user), (), not bool(bad)) for user in range(users) for bad in wrong[user]]


def test_a_users_day_is_one_observation() -> None:
    """At the bound, sessions of 20: as many pairs that were independent would be proof far too often."""

    def false(rng: np.random.Generator, split: bool) -> bool:
        pairs = sessions(rng, 100, 20, RISK, 0.3)
        if split:
            pairs = [Pair(at, one.at, (), one.agreed) for at, one in enumerate(pairs)]
        return one_cut(pairs, list(range(200, 2001, 200)))

    assert shares(300, lambda rng: false(rng, split=False)) <= DELTA + bar(DELTA, 300)
    assert shares(300, lambda rng: false(rng, split=True)) > 0.3


def test_sessions_of_a_good_student_are_proved() -> None:
    assert shares(40, lambda rng: one_cut(sessions(rng, 400, 5, 0.015, 0.1), [1000, 2000])) > 0.9


def hybrid_traffic(rng: np.random.Generator, count: int, audit: float) -> tuple[list[Pair], Any]:
    """What is released (.9 of it) is wrong 3% of the time and seen as often as it is audited; what is deferred is wrong 43%
    of the time and always seen. Together: 7%."""
    pairs, scores = [], []
    for unit in range(count):
        released = rng.random() < 0.9
        if released and rng.random() >= audit:
            continue
        agreed = rng.random() >= (0.03 if released else 0.43)
        pairs.append(Pair(unit, 0.0, (), bool(agreed), probability=audit if released else 1.0, floor=audit))
        scores.append(0.9 if released else 0.5)
    return pairs, np.array(scores)


def test_audits_and_deferred_copies_are_weighed_before_they_are_pooled() -> None:
    """The other way round from what one expects: unweighed, a cut that lets everything through looks worse than it is, and
    a cut whose deferred answers are better than its released ones would look better."""
    rng = np.random.default_rng(5)
    pairs, _ = hybrid_traffic(rng, 40_000, 0.05)
    through = np.ones(len(pairs), bool)
    agreed = np.array([one.agreed for one in pairs])
    weight = np.array([one.weight for one in pairs])
    assert float((weight * ~agreed).sum() / weight.sum()) == pytest.approx(0.07, abs=0.01)
    assert float((~agreed).mean()) > 0.2
    assert peak(through, agreed, cells(pairs, []), weight, [len(pairs)], 0.05)[0] < 1
    assert peak(through, agreed, cells(pairs, []), weight, [len(pairs)], 0.12)[0] > 3


def test_better_deferred_answers_do_not_prove_a_worse_whole() -> None:
    """Released: wrong 6%; deferred: never wrong. All are seen of the one, and a twentieth of the other."""

    def false(rng: np.random.Generator, weighed: bool) -> bool:
        pairs = []
        for unit in range(12_000):
            released = rng.random() < 0.9
            if not released or rng.random() < 0.05:
                agreed, p = not released or rng.random() >= 0.06, 0.05 if released else 1.0
                pairs.append(
                    Pair(unit, 0.0, (), bool(agreed), probability=p if weighed else 1.0, floor=0.05 if weighed else 1.0)
                )
        return one_cut(pairs, [len(pairs)])

    assert shares(40, lambda rng: false(rng, weighed=True)) <= DELTA + bar(DELTA, 40)
    assert shares(10, lambda rng: false(rng, weighed=False)) == 1.0


def classes(rng: np.random.Generator, count: int) -> tuple[list[Pair], Any]:
    """The student always says 0: wrong 4% of the time, which is all of what the teacher calls 1."""
    teacher = np.where(rng.random(count) < 0.04, "1", "0").tolist()
    return [Pair(at, 0.0, (), said == "0", "0", said) for at, said in enumerate(teacher)], np.ones(count)


def test_no_class_hides_behind_the_whole() -> None:
    pairs, scores = classes(np.random.default_rng(2), 8000)
    proofs = {
        sides: prove(pairs, scores, [(0.5,)], ("0",), [8000], risk=RISK, delta=DELTA, sides=sides)
        for sides in (frozenset({"student"}), frozenset({"student", "teacher"}))  # type: ignore[arg-type]
    }
    ours, both = proofs.values()
    assert (ours.policy, both.policy) == (0, None)
    assert [(one.side, one.label) for one in both.lacking] == [("teacher", "1")]


def test_the_order_is_never_jumped() -> None:
    """A policy behind one that is not proved is not looked at, however good it looks."""
    pairs = [Pair(at, 0.0, (), at % 2 == 0 or at >= 400) for at in range(20_000)]
    scores = np.array([0.9 if at < 400 else 0.2 for at in range(20_000)])
    found = prove(pairs, scores, [(0.8,), (0.1,)], ("",), [20_000], risk=RISK, delta=DELTA, sides=frozenset())
    assert found.policy is None


def test_labels_without_a_cut_are_not_released() -> None:
    pairs = [Pair(at, 0.0, (), True, "b" if at % 2 else "a", "a") for at in range(1000)]
    found = prove(pairs, np.ones(1000), [(0.5,)], ("a",), [1000], risk=RISK, delta=DELTA, sides=frozenset())
    assert (found.policy, found.coverage, found.classes[0].pairs) == (0, 0.5, 500)


def test_nothing_is_proved_from_nothing() -> None:
    empty = prove([], np.zeros(0), [(0.5,)], ("",), [], risk=RISK, delta=DELTA, sides=frozenset())
    assert (empty.policy, empty.coverage) == (None, 0.0)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 200_000)), max_size=40), st.lists(st.integers(0, 40), max_size=4)
)
def test_cells_never_join_users_or_looks(rows: list[tuple[int, float]], marks: list[int]) -> None:
    pairs, looks = [Pair(unit, at, (), True) for unit, at in rows], sorted(set(marks))
    found = cells(pairs, looks).tolist()
    for one in range(len(pairs)):
        for other in range(one):
            same = pairs[one].unit == pairs[other].unit and pairs[one].at // 86400 == pairs[other].at // 86400
            parted = any(other < look <= one for look in looks)
            assert (found[one] == found[other]) == (same and not parted)


@given(st.integers(0, 2**64 - 1))
def test_halves_are_of_units_and_for_ever(unit: int) -> None:
    assert half(unit) == half(unit)


def test_halves_are_halves() -> None:
    fit = sum(half(unit) == "fit" for unit in range(10_000))
    assert abs(fit - 5000) < 200


@pytest.mark.parametrize(("p", "floor"), [(0.0, 0.0), (0.5, 0.6), (1.1, 0.5), (float("nan"), 0.5)])
def test_impossible_probabilities_are_refused(p: float, floor: float) -> None:
    with pytest.raises(HybridError):
        Pair(1, 0.0, (), True, probability=p, floor=floor)


def test_pairs_come_back_from_plain_data() -> None:
    pair = Pair(2**63, 1.5, (0.1, 2.0), False, "a", "b", 0.5, 0.05)
    assert pair_from_dict(pair.to_dict()) == pair
