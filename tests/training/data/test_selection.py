"""Rows for the next student: the useful ones first, weights that undo the sampling, no answer that nobody gave."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.cli import main
from graduand.rollout.answers.tasks import read
from graduand.training.data.samples import of_text
from graduand.training.data.selection import (
    MOST_WEIGHT,
    Observed,
    effective_rows,
    novelty,
    observe,
    reason_of,
    select,
    weights,
)
from tests.gateway.logs.lines import MORNING, made, write

TASK = read({"kind": "label", "labels": ["a", "b"]})


def answer(text: str, finish: str = "stop") -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}]})


def record(arm: str = "teacher", said: str = "a", text: str = "where is my parcel", **more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": "r1", "role": "served", "arm": arm, "status": 200, "completed": True, "error": None, "unit_hash": "u1",
        "arm_probability": 1.0, "sampling_prob": 1.0, "response_json": answer(said),
        "request_json": json.dumps({"messages": [{"role": "user", "content": text}]}), "feedback": None, "copies": [],
    }  # fmt: skip
    return values | more


def copy(arm: str, said: str, **more: Any) -> dict[str, Any]:
    return {"arm": arm, "completed": True, "error": None, "response_json": answer(said)} | more


def observed(**more: Any) -> Observed:
    found = observe(record(**more), TASK, audit=0.05)
    assert isinstance(found, Observed)
    return found


def test_a_teachers_answer_is_learned_and_compared_with_the_copy() -> None:
    same = observed(copies=[copy("student", "A.")])
    assert (same.sample.completion, same.disagreed, same.probability) == ("a", False, 1.0)
    assert same.sample.answers == {"teacher": "a", "student": "A."}
    assert observed(copies=[copy("student", "b")]).disagreed is True
    assert observed(copies=[copy("student", "gibberish")]).disagreed is True
    assert observed(copies=[copy("student", "b", completed=False)]).disagreed is None
    assert observed().disagreed is None


def test_a_students_answer_is_never_learned() -> None:
    alone = observed(arm="student", said="b", arm_probability=0.1)
    assert (alone.sample.completion, alone.disagreed) == (None, None)
    audited = observed(arm="student", said="b", arm_probability=0.1, copies=[copy("teacher", "a")])
    assert (audited.sample.completion, audited.disagreed) == ("a", True)
    assert audited.probability == pytest.approx(0.1 * 0.05)
    cut = observed(response_json=answer("a", finish="length"))
    assert cut.sample.completion is None


@pytest.mark.parametrize(
    ("drift", "new", "reason"),
    [
        ({"novelty_p": 0.004, "e_value": 9.0}, 0.3, "novel"),
        ({"novelty_p": 0.004, "e_value": 9.0}, 0.1, "sampled"),  # learned since
        ({"novelty_p": 0.5, "e_value": 9.0}, 0.3, "sampled"),
        ({"novelty_p": None, "e_value": None}, 0.3, "sampled"),
        (None, 0.3, "sampled"), (None, 0.5, "novel"),
    ],
)  # fmt: skip
def test_what_the_monitor_found_strange_is_novel(drift: Any, new: float, reason: str) -> None:
    assert reason_of(observed(drift=drift), new) == reason


def test_feedback_is_joined() -> None:
    corrected = observed(arm="student", said="b", feedback={"correction": "a"})
    assert (corrected.sample.completion, corrected.sample.gold) == ("a", "a")
    assert observed(feedback={"score": -1}).disliked
    assert observed(feedback={"label": "thumbs_down"}).disliked
    assert not observed(feedback={"score": 1}).disliked


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (record(role="shadow"), "a copy"),
        (record(request_json="{"), "no prompt to train on"),
        (record(request_json=None), "no prompt to train on"),
        (record(request_json='{"messages": [{"role": "user", "content": []}]}'), "no prompt to train on"),
        (record(request_json='{"prompt": [1, 2]}'), "no prompt to train on"),
        (record(arm="student", status=500, response_json=None, completed=False), "not answered"),
    ],
)
def test_what_cannot_be_used_is_said(values: dict[str, Any], reason: str) -> None:
    found = observe(values, TASK, 0.05)
    assert isinstance(found, str)
    assert found.startswith(reason)


def test_novel_inputs() -> None:
    known = ["where is my parcel", "my parcel is late"]
    same, new = novelty(["Where is my parcel?", "Qualifikation für das Förderprogramm"], known)
    assert same < 0.3 < 0.8 < new
    assert novelty(["anything"], []) == [1.0]
    assert novelty([], known) == []


@given(st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=50))
def test_weights_have_a_mean_of_one_and_bounds(probabilities: list[float]) -> None:
    found = weights(probabilities)
    assert sum(found) / len(found) == pytest.approx(1)
    assert max(found) <= MOST_WEIGHT * min(found) * (1 + 1e-9)
    assert 1 <= effective_rows(found) <= len(found) * (1 + 1e-9)
    rising = sorted(zip(probabilities, found, strict=True))
    assert all(one[1] >= other[1] - 1e-9 for one, other in itertools.pairwise(rising))


def test_weights_undo_the_sampling() -> None:
    source = random.Random(5)
    # Label b is seen twice in ten, label a always: the plain share of b is far too low.
    rows = [("b", 0.2) if source.random() < 0.5 else ("a", 1.0) for _ in range(4000)]
    seen = [(label, chance) for label, chance in rows if source.random() < chance]
    found = weights([chance for _, chance in seen])
    share = sum(each for each, (label, _) in zip(found, seen, strict=True) if label == "b") / len(seen)
    truth = sum(label == "b" for label, _ in rows) / len(rows)
    plain = sum(label == "b" for label, _ in seen) / len(seen)
    assert abs(plain - truth) > 0.25
    assert share == pytest.approx(truth, abs=0.05)


def test_weights_refuse_what_is_no_probability() -> None:
    for bad in ([0.0], [1.5]):
        with pytest.raises(ValueError, match="above 0"):
            weights(bad)


def test_the_useful_ones_come_first() -> None:
    known = [of_text(f"k{n}", f"where is parcel number {n} of mine") for n in range(20)]
    plain = [observed(id=f"p{n}", text=f"where is parcel number {n + 50} of mine") for n in range(30)]
    wanted = [
        observed(id="novel", text="Qualifikation für das Förderprogramm prüfen"),
        observed(id="disliked", text="please cancel order seven now", feedback={"score": -1}),
        observed(id="disagreed", text="invoice twelve shows another sum", copies=[copy("student", "b")]),
        observed(id="corrected", text="the refund has not come yet", feedback={"correction": "b"}),
    ]
    again = observed(id="again", text="Invoice twelve shows another sum!", copies=[copy("student", "b")])
    made = select([*plain, *wanted, again, "payload not kept"], known, most=4, sampled=0.0, seed=0)
    assert made.chosen[1].sample.id in ("disagreed", "again")
    assert [each.reason for each in made.chosen] == ["corrected", "disagreed", "disliked", "novel"]
    assert made.alike == 1
    assert made.unusable == {"payload not kept": 1}
    assert len(made.chosen) + made.alike + made.left_over == 35
    mixed = select([*plain, *wanted], known, most=10, sampled=0.5, seed=0)
    assert sum(each.reason == "sampled" for each in mixed.chosen) >= 3
    assert select([*plain, *wanted], known, most=10, sampled=0.5, seed=0) == mixed
    assert sum(each.sample.weight for each in mixed.chosen) / len(mixed.chosen) == pytest.approx(1)


def test_rows_without_a_teachers_answer_are_for_labelling() -> None:
    made = select([observed(arm="student", said="b")], [], most=5, sampled=0.0, seed=0)
    assert made.chosen[0].needs_label
    assert made.chosen[0].reason == "novel"


def test_what_the_log_exports_is_what_is_read(tmp_path: Path) -> None:
    def said(text: str) -> dict[str, Any]:
        return {"response_json": answer(text)}

    served = (
        made(1, **said("a")),
        made(2, arm="student", adapter="x@1", arm_probability=0.1, **said("b")),
        made(3, **said("a")),
    )
    copies = [
        made(11, role="shadow", parent_id=served[0]["id"], arm="student", adapter="x@1", **said("b")),
        made(12, role="audit", parent_id=served[1]["id"], **said("b")),
    ]
    write(tmp_path, "one", [*served, *copies])
    feedback = {"feedback_id": "1", "id": served[2]["id"], "time": MORNING, "correction": "b"}
    (tmp_path / "feedback" / "segments").mkdir(parents=True)
    (tmp_path / "feedback" / "segments" / "f.jsonl").write_text(json.dumps(feedback) + "\n")
    out = tmp_path / "raw.jsonl"
    command = ["logs", "export", "--from", str(tmp_path), "--route", "tickets", "--format", "raw", "--arm", "any"]
    assert main([*command, "--out", str(out)]) == 0
    records = [json.loads(line) for line in out.read_text().splitlines()]
    found = {each["id"]: observe(each, TASK, 0.05) for each in records}
    one, two, three = (found[each["id"]] for each in served)
    assert isinstance(one, Observed)
    assert isinstance(two, Observed)
    assert isinstance(three, Observed)
    assert (one.disagreed, one.sample.completion) == (True, "a")
    assert (two.disagreed, two.sample.completion, two.probability) == (False, "b", pytest.approx(0.005))
    assert (three.sample.gold, three.sample.completion) == ("b", "b")
    assert sum(isinstance(each, str) for each in found.values()) == 2  # the copies
    made_ = select(found.values(), [], most=10, sampled=0, seed=0)
    assert [each.reason for each in made_.chosen][:2] == ["corrected", "disagreed"]
