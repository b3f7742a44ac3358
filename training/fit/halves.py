"""Training the upper layers only: what the lower ones say never changes, so each row goes through them once.

The lower layers keep their adapter matrices, with B at zero, so that servers see an adapter of all layers. Their output is
kept, up to a limit of memory; rows beyond it go through them again each time, without gradients. Works with any
decoder that transformers calls `model.layers`: the layers are run by the model's own code, which is handed other inputs.

Invariant: the two halves together give what the whole model gives, which is tested when they are made.
"""

import copy
from collections.abc import Sequence
from typing import Any

from graduand.gateway.errors import ConfigError
from graduand.training.fit.mask import Example

CACHE_BYTES = 2 << 30
TOLERANCE = 1e-3  # of the logits' own spread, in float32
_PROBE = 12


class Halves:
    """A PEFT model cut below its last `upper` layers. `model` is the upper half, called with `inputs_embeds`."""

    def __init__(self, tuned: Any, upper: int, limit_bytes: int = CACHE_BYTES) -> None:
        from torch import nn

        whole = tuned.get_base_model()
        decoder = whole.model
        layers = list(decoder.layers)
        if not 0 < upper < len(layers):
            raise ConfigError(f"upper_layers must be 1 to {len(layers) - 1} with this base; it is {upper}")
        cut = len(layers) - upper
        freeze(tuned, cut)
        self._below = _with(decoder, layers=nn.ModuleList(layers[:cut]), norm=nn.Identity())
        self.model = _with(whole, model=_with(decoder, layers=nn.ModuleList(layers[cut:])))
        self._room = limit_bytes
        self._kept: dict[tuple[int, ...], Any] = {}
        self._check(whole)

    def inputs(self, examples: Sequence[Example], inputs: dict[str, Any]) -> dict[str, Any]:
        """A batch's inputs with what the lower half makes of its tokens, padded on the left as they are."""
        import torch

        width = inputs["input_ids"].shape[1]
        rows = self._rows(examples, inputs["input_ids"].device)
        shape = (len(rows), width, rows[0].shape[1])
        hidden = torch.zeros(shape, dtype=rows[0].dtype, device=rows[0].device)
        for place, row in enumerate(rows):
            hidden[place, width - len(row) :] = row
        rest = {name: value for name, value in inputs.items() if name != "input_ids"}
        return {"inputs_embeds": hidden, **rest}

    def _rows(self, examples: Sequence[Example], device: Any) -> list[Any]:
        """What the lower half makes of each example, shape (tokens, width)."""
        found = []
        for example in examples:
            row = self._kept.get(example.ids)
            if row is None:
                row = self._lower(example.ids, device)
                size = row.numel() * row.element_size()
                if size <= self._room:
                    self._room -= size
                    self._kept[example.ids] = row
            found.append(row)
        return found

    def _lower(self, ids: Sequence[int], device: Any) -> Any:
        import torch

        with torch.no_grad():  # its adapter's B is zero; PEFT's disable_adapter would thaw what is frozen here
            tokens = torch.tensor([ids], device=device)
            hidden = self._below(input_ids=tokens, use_cache=False).last_hidden_state[0]
            return hidden.bfloat16() if torch.is_autocast_enabled(tokens.device.type) else hidden

    def _check(self, whole: Any) -> None:
        """A decoder that does more than run its layers one by one, such as scaling its inputs, cannot be cut."""
        import torch

        ids = [(17 * place + 11) % min(whole.config.vocab_size, 997) for place in range(_PROBE)]
        device = next(whole.parameters()).device
        training, _ = whole.training, whole.eval()
        with torch.no_grad():
            whole_says = whole(input_ids=torch.tensor([ids], device=device), use_cache=False).logits
            halves_say = self.model(inputs_embeds=self._lower(ids, device)[None], use_cache=False).logits
        whole.train(training)
        apart = float((whole_says - halves_say).abs().max())
        if not apart <= TOLERANCE * float(whole_says.std()):
            raise ConfigError(
                f"this base cannot be cut in two (its logits change by {apart:.3g}): leave upper_layers out"
            )


def freeze(tuned: Any, cut: int) -> None:
    """Leave the adapter of the first `cut` layers as it starts: with B at zero it does nothing."""
    for layer in list(tuned.get_base_model().model.layers)[:cut]:
        layer.requires_grad_(False)


def _with(module: Any, **children: Any) -> Any:
    """The same module with some other children; its parameters are shared, not copied."""
    twin = copy.copy(module)
    twin._modules = {**module._modules, **children}
    return twin
