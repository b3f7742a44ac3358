"""Who is asked about, and what labels prove: drawn once, by a hash, learnt from in order, counted by whole cycles."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.rollout.gates.correctness import Correctness
from graduand.rollout.gates.drawing import FLOOR, Guess
from graduand.rollout.labelling import BLOCK, RATES, Labelling, kind_of, labelling_from_dict

KINDS = st.sampled_from(sorted(RATES))


def labelling(labels: int = 100, *, whole: bool = False, p0: float = 0.8) -> Labelling:
    return Labelling(Correctness(p0, FLOOR), labels, whole)


def guess(number: int, kind: str = "same", p: float = 1.0, *, wrong: bool = False) -> Guess:
    return Guess(f"r{number}", 0.0, float(number), kind, wrong, p)


@given(st.lists(st.tuples(KINDS, st.booleans(), st.sampled_from(["take", "label", "close", "spoil"])), max_size=300))
def test_every_request_is_dropped_or_asked_about_once_and_only_once(steps: list[tuple[str, bool, str]]) -> None:
    one = labelling(8, whole=True)
    taken: list[str] = []
    gone: Counter[str] = Counter()
    for number, (kind, correct, what) in enumerate(steps):
        if what == "label" and one.asked:
            gone[one.learn(correct).guess.record] += 1
        elif what == "close":
            gone.update(one.close("salt"))
        elif what == "spoil":
            gone.update(one.spoil())
        else:
            taken.append(f"r{number}")
            gone.update(one.take(guess(number, kind), "salt"))
        assert one.drawn <= one.budget
        assert one.drawn == one.gate.n + len(one.asked)
        assert all(0 < draw.weight <= 1 / FLOOR + 1e-9 and 0 < draw.share <= 1 for draw in one.asked)
        assert labelling_from_dict(json.loads(json.dumps(one.to_dict()))) == one
    open_ = [block.kept.record for block in one.blocks] + [draw.guess.record for draw in one.asked]
    assert Counter(taken) == gone + Counter(open_)


def test_a_cycle_of_any_size_has_half_of_the_labels() -> None:
    for sessions in (1, 7, 30, 49, 51, 100, 1000, 5000):
        one = labelling(100, whole=True)
        for number in range(sessions):
            one.take(guess(number), "salt")
        one.close("salt")
        assert len(one.asked) == min(sessions, 50)
        sizes = [draw.size for draw in one.asked]
        assert sum(sizes) == sessions  # nobody is left out
        assert max(sizes[:-1], default=1) <= 2 * min(sizes[:-1], default=1)
        assert [draw.share for draw in one.asked] == [size / max(sizes) for size in sizes]
        assert [draw.last for draw in one.asked] == [False] * (len(one.asked) - 1) + [True]


def test_a_draw_knows_nothing_of_labels_that_are_still_to_come() -> None:
    """The same requests are drawn, whatever the labels say, as long as the guesses are the same."""
    found = []
    for correct in (True, False):
        one = labelling(whole=False)
        for number in range(5 * BLOCK):
            one.take(guess(number, "same", wrong=False), "salt")
        drawn = [draw.guess.record for draw in one.asked]
        while one.asked:
            one.learn(correct)
        found.append(drawn)
    assert found[0] == found[1]
    assert len(found[0]) == 5


def test_every_session_of_a_cycle_is_drawn_alike_when_guesses_are() -> None:
    counts: Counter[str] = Counter()
    for run in range(3000):
        one = labelling(4, whole=True)
        for number in range(12):
            one.take(guess(number), f"salt {run}")
        one.close(f"salt {run}")
        for draw in one.asked:
            counts[draw.guess.record] += 1
            assert draw.probability == pytest.approx(1 / draw.size)
    # 12 sessions in two blocks of 6: one of each is drawn.
    for number in range(12):
        assert counts[f"r{number}"] / 3000 == pytest.approx(1 / 6, abs=0.035)


def test_two_cycles_count_when_all_of_their_draws_are_learnt_from() -> None:
    one = labelling(40, whole=True)
    for number in range(40):
        one.take(guess(number), "salt")
        if number % 20 == 19:
            one.close("salt")
    for _ in range(39):
        one.learn(True)
        assert one.log_e == 0.0 < one.gate.log_e
    one.learn(True)
    assert one.log_e == one.gate.log_e > 0


def test_what_is_spoilt_is_never_asked_about_and_a_new_entry_asks_for_as_many_again() -> None:
    one = labelling(10, whole=True)
    for cycle in range(3):
        for number in range(5):
            one.take(guess(10 * cycle + number), "salt")
        if cycle == 1:
            assert len(one.spoil()) == 5
        else:
            one.close("salt")
    assert [draw.guess.record for draw in one.asked] == [
        "r0",
        "r1",
        "r2",
        "r3",
        "r4",
        "r20",
        "r21",
        "r22",
        "r23",
        "r24",
    ]
    assert (one.full, one.spent, one.take(guess(99), "salt")) == (True, False, ["r99"])
    while one.asked:
        one.learn(None)
    assert (one.spent, one.gate.skipped) == (True, 10)
    one.again()
    assert (one.full, one.take(guess(100), "salt")) == (False, [])


def test_labels_teach_what_a_comparison_is_worth() -> None:
    one = labelling(1000)
    before = one.predicted("other")
    for number in range(300 * BLOCK):
        one.take(guess(number, "other"), "salt")
    while one.asked:
        one.learn(True)
    assert before == RATES["other"]
    assert one.predicted("other") > 0.95
    assert one.predicted("same") == RATES["same"]


def test_no_answer_is_wrong_and_teaches_nothing_about_others() -> None:
    one = labelling(100)
    for number in range(BLOCK):
        one.take(guess(number, "other", wrong=True), "salt")
    assert one.asked[0].guess.predicted == 0.0
    one.learn(False)
    assert (one.known, one.gate.right, one.gate.n) == ({}, 0, 1)


def test_what_was_drawn_more_often_stands_for_less() -> None:
    one = labelling(100)
    for number in range(2 * BLOCK):
        one.take(guess(number, p=0.1 if number < BLOCK else 0.4), "salt")
    assert [round(draw.share, 9) for draw in one.asked] == [1.0, 0.25]


@pytest.mark.parametrize(
    ("agreed", "score", "kind"),
    [(True, None, "same"), (False, None, "other"), (None, None, ""), (False, 1.0, "better"), (None, 0.5, "equal"),
     (False, 0.0, "worse")],
)  # fmt: skip
def test_kinds(agreed: bool | None, score: float | None, kind: str) -> None:
    assert kind_of(agreed, score) == kind
    assert kind in RATES


def certified(true: float, *, agree: float, runs: int, p0: float = 0.8, labels: int = 100, seed: int = 1) -> float:
    """Share of steps of two cycles that are certified. The student is right with probability `true`, and `agree` of right
    answers and a quarter of wrong ones agree with the teacher."""
    rng, found = np.random.default_rng(seed), 0
    for run in range(runs):
        one, right = labelling(labels, whole=True, p0=p0), {}
        best = 0.0
        for cycle in range(2):
            for number in range(300):
                name = cycle * 1000 + number
                right[f"r{name}"] = correct = bool(rng.random() < true)
                same = rng.random() < (agree if correct else 0.25)
                one.take(guess(name, "same" if same else "other"), f"salt {run}")
            one.close(f"salt {run}")
            while one.asked:
                one.learn(right[one.asked[0].guess.record])
            best = max(best, one.log_e)
        found += best >= math.log(20)
    return found / runs


def test_at_the_bound_hardly_any_step_is_certified_and_a_good_one_often_is() -> None:
    """By the queue as it is: merged blocks, doubts that labels teach, whole cycles. 300 runs; alpha .05."""
    assert certified(0.8, agree=0.95, runs=300) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)
    assert certified(0.95, agree=0.95, runs=60) > 0.8
