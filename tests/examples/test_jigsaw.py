"""The table beside the article's: what hybrid routing would do, and that the page has every student."""

from pathlib import Path

import pytest

from examples.jigsaw.table import deferred
from training.run_config import fit_config

HERE = Path(__file__).parents[2] / "examples" / "jigsaw"


@pytest.mark.parametrize(("share", "right"), [(0, 2), (0.25, 3), (0.5, 2), (1, 3)])
def test_the_least_sure_are_deferred(share: float, right: int) -> None:
    rows = [("1", "0", "1"), ("1", "1", "0"), ("0", "1", "0"), ("0", "0", "0")]
    assert deferred(rows, share) == right


def test_a_teacher_that_said_nothing_is_wrong() -> None:
    assert deferred([("1", "1", None)], 1.0) == 0


def test_the_run_is_a_valid_configuration() -> None:
    config = fit_config(HERE / "run.yaml", {"data": Path("A.jsonl"), "out": Path("adapters")})
    assert (config.class_weight, config.upper_layers, config.name) == ("balanced", 15, "A")
