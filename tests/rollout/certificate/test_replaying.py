"""Claims that are compared with what lines say again: figures may differ in their last digit, nothing else may."""

from typing import Any

import pytest

from graduand.rollout.certificate.replaying import comparable, difference, pair_from_dict, pair_to_dict
from graduand.rollout.ledger import Pair

CLAIM: dict[str, Any] = {
    "step": "full", "cycles": 2, "srm": None, "paths": {"log_e": 0.5, "n": 3},
    "gates": [{"name": "agreement", "signal": "agreement", "log_e": 4.0, "n": 30, "certified": True, "says": "x"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("gates", 0, "log_e"), 4.0 + 1e-12, ""),
        (("gates", 0, "says"), "other words", ""),
        (("gates", 0, "log_e"), 4.1, "gates agreement log_e is 4.0, not 4.1"),
        (("gates", 0, "certified"), False, "gates agreement certified is True, not False"),
        (("cycles",), 3, "cycles is 2, not 3"),
        (("srm",), {"log_e": 0.0, "n": 0}, "srm is None"),
        (("gates",), [], "gates is"),
    ],
)
def test_differences(path: tuple[Any, ...], value: Any, said: str) -> None:
    other: Any = {**CLAIM, "gates": [dict(CLAIM["gates"][0])]}
    place = other
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    found = difference(CLAIM, other)
    assert found.startswith(said) if said else found == ""


def test_a_gate_that_lines_do_not_feed_is_left_out() -> None:
    labelled = {"name": "correctness", "signal": "correctness", "log_e": 9.0, "n": 100, "certified": True, "says": ""}
    with_labels = {**CLAIM, "gates": [*CLAIM["gates"], labelled]}
    assert comparable(with_labels) == comparable(CLAIM) == CLAIM
    assert comparable(None) is None


def test_a_pair_comes_back_and_may_have_fewer_fields() -> None:
    pair = Pair(1.5, True, {"a": True}, slices=("x",), unit=2**60 + 1, p=0.5, path="served")
    data = pair_to_dict(pair)
    assert pair_from_dict(data) == pair
    del data["checks"]  # of an earlier version
    assert pair_from_dict(data) == pair
