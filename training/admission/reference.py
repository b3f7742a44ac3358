"""What the trained model itself says: base and adapter by transformers and PEFT, in float32, on the CPU.

The other side of the comparison with a running engine. Never talks to one.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graduand.training.admission.probes import Probe

ALTERNATIVES = 50


@dataclass(frozen=True, slots=True)
class Expected:
    """For each context the log-probabilities of the likeliest next tokens by their text; `least` is the last one's."""

    by_text: dict[str, float]
    least: float

    def of(self, text: str) -> float:
        """The token's log-probability; that of the last of the likeliest if it is not among them."""
        return self.by_text.get(text, self.least)


@dataclass(frozen=True, slots=True)
class Reference:
    """The trained model (`tuned`) and its base, for all contexts of all probes in order."""

    base: list[Expected]
    tuned: list[Expected]


def reference(model: Any, tokenizer: Any, path: Path, probes: Sequence[Probe]) -> Reference:
    """Run the probes through `model` with and without the adapter in the folder `path`."""
    from peft import PeftModel

    base = _run(model, tokenizer, probes)  # before PEFT touches it: some adapters change the base's weights
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned = PeftModel.from_pretrained(model, path).eval()
    return Reference(base, _run(tuned, tokenizer, probes))


def _run(model: Any, tokenizer: Any, probes: Sequence[Probe]) -> list[Expected]:
    import torch

    found = []
    with torch.inference_mode():
        for probe in probes:
            cuts = torch.tensor([cut - 1 for cut in probe.cuts])
            logits = model(input_ids=torch.tensor([probe.ids]), logits_to_keep=cuts, use_cache=False).logits[0]
            found += [_expected(row, tokenizer) for row in logits.float().log_softmax(-1)]
    return found


def _expected(logprobs: Any, tokenizer: Any) -> Expected:
    values, ids = logprobs.topk(min(ALTERNATIVES, len(logprobs)))
    by_text: dict[str, float] = {}
    for value, token in zip(values.tolist(), ids.tolist(), strict=True):
        by_text.setdefault(tokenizer.decode([token], skip_special_tokens=False), value)
    return Expected(by_text, float(values[-1]))
