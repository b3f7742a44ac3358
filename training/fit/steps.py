"""One training step: the rate, the tensors, the loss. Knows nothing of files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graduand.training.fit.mask import IGNORED, Example

if TYPE_CHECKING:
    from torch import Tensor


def rate_share(step: int, total: int, warm_up: float) -> float:
    """The share of the full rate at `step` (0-based): linear warm-up, then a cosine down to zero."""
    rising = math.ceil(total * warm_up)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded on the left, so that all completions end at the right edge and one slice of logits covers them."""

    inputs: "dict[str, Tensor]"
    labels: "Tensor"  # of the last `labels.shape[1]` positions only
    weights: "Tensor"  # one a row
    tokens: int


def collate(examples: Sequence[Example], pad: int, device: Any) -> Batch:
    """Examples as tensors. Position ids are given because a model would count the padding otherwise."""
    import torch

    width = max(len(example.ids) for example in examples)
    keep = max(len(example.ids) - example.start for example in examples)
    gaps = [width - len(example.ids) for example in examples]
    rows = list(zip(gaps, examples, strict=True))
    inputs = {
        "input_ids": [[pad] * gap + list(example.ids) for gap, example in rows],
        "attention_mask": [[0] * gap + [1] * len(example.ids) for gap, example in rows],
        "position_ids": [[0] * gap + list(range(len(example.ids))) for gap, example in rows],
    }
    labels = [([IGNORED] * gap + list(example.labels))[-keep:] for gap, example in rows]
    return Batch(
        {name: torch.tensor(values, device=device) for name, values in inputs.items()},
        torch.tensor(labels, device=device),
        torch.tensor([example.weight for example in examples], device=device),
        sum(len(example.ids) for example in examples),
    )


def batch_loss(model: Any, batch: Batch) -> "Tensor":
    """Mean cross-entropy over the batch's completion tokens, each times its row's weight.

    The head runs for these positions only. The sum is over the number of tokens, not of weights: a batch of light rows
    makes a small step.
    """
    from torch.nn.functional import cross_entropy

    keep = batch.labels.shape[1]
    # The logits of one position foretell the next: one more position is kept, and the last one's are not needed.
    logits = model(**batch.inputs, logits_to_keep=keep + 1, use_cache=False).logits[:, -keep - 1 : -1]
    seen = batch.labels != IGNORED
    losses = cross_entropy(logits[seen].float(), batch.labels[seen], reduction="none")
    return (losses * batch.weights[:, None].expand_as(seen)[seen]).sum() / seen.sum()
