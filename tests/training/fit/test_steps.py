"""One step: the rate, the padding, and a loss that agrees with the plain way of computing it."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from graduand.gateway.adapters import base_model
from graduand.training.fit.mask import Example
from graduand.training.fit.steps import batch_loss, collate, rate_share


def test_rate_rises_then_falls_to_nothing() -> None:
    shares = [rate_share(step, 100, 0.1) for step in range(100)]
    assert shares[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert shares[10] == 1.0
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert 0 <= shares[-1] < 0.001
    assert rate_share(0, 1, 0.0) == 1.0


def test_loss_of_a_padded_batch_is_that_of_its_rows_alone(tiny_base: Path) -> None:
    model, _ = base_model.load(str(tiny_base))
    examples = [Example("a", (5, 9, 11, 30, 2), 3), Example("b", (*range(20, 33), 40, 41, 2), 13)]
    with torch.no_grad():
        loss = batch_loss(model, collate(examples, 0, "cpu"))
        sums = []
        for example in examples:
            logits = model(input_ids=torch.tensor([example.ids])).logits[0, :-1]
            sums.append(cross_entropy(logits, torch.tensor(example.labels[1:]), ignore_index=-100, reduction="sum"))
    assert float(loss) == pytest.approx(float(sum(sums)) / 5, rel=1e-5)


def test_collate_pads_on_the_left_and_counts_positions_from_the_first_token() -> None:
    batch = collate([Example("a", (7, 8, 2), 2), Example("b", (5, 6, 7, 8, 2), 3)], 0, "cpu")
    assert batch.inputs["input_ids"].tolist() == [[0, 0, 7, 8, 2], [5, 6, 7, 8, 2]]
    assert batch.inputs["attention_mask"].tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert batch.inputs["position_ids"].tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]
    assert batch.labels.tolist() == [[-100, 2], [8, 2]]
    assert batch.tokens == 8
