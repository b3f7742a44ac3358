"""Weights of rows: classes count the same, the mean stays 1, and the loss hears them."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.adapters import base_model
from graduand.training.data.rows import DataError, Row
from graduand.training.fit import weights
from graduand.training.fit.mask import Example
from graduand.training.fit.steps import batch_loss, collate


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 9)), min_size=6, max_size=60))
def test_classes_count_the_same(drawn: list[tuple[str, float]]) -> None:
    rows = [Row(str(place), label, weight=weight) for place, (label, weight) in enumerate(drawn)]
    found = weights.of_rows(rows, "balanced")
    sums = {label: sum(w for w, row in zip(found, rows, strict=True) if row.completion == label) for label in "abc"}
    present = [total for label, total in sums.items() if any(row.completion == label for row in rows)]
    assert present == pytest.approx([len(rows) / len(present)] * len(present))
    assert sum(weights.of_rows(rows, "none")) == pytest.approx(len(rows))


def test_free_text_has_no_classes() -> None:
    with pytest.raises(DataError, match="is for labels, and 9 rows have 9 different"):
        weights.of_rows([Row(str(n), f"text {n}") for n in range(9)], "balanced")


def test_the_loss_of_a_row_counts_by_its_weight(tiny_base: Path) -> None:
    model, _ = base_model.load(str(tiny_base))
    one, other = (5, 9, 11, 30, 2), (7, 8, 9, 10, 2)
    with torch.no_grad():
        alone = [float(batch_loss(model, collate([Example("a", ids, 3)], 0, "cpu"))) for ids in (one, other)]
        rows = [Example("a", one, 3, weight=1.5), Example("b", other, 3, weight=0.5)]
        both = float(batch_loss(model, collate(rows, 0, "cpu")))
    assert both == pytest.approx((1.5 * alone[0] + 0.5 * alone[1]) / 2, rel=1e-5)
