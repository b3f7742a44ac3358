"""The linear layers of the base, as the engine runs them: weights packed once for oneDNN, adapters added by rows.

The stock kernel re-packs a matrix on every call, which for the few rows of a decode step costs more than the product:
packing once makes a step about three times faster here (docs/engine.md). Without oneDNN the stock kernel runs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graduand.gateway.engine.adapters import LoadedAdapter

Run = tuple[int, int, LoadedAdapter]


class PackedLinear:
    """A linear map with its weight packed for small float32 batches."""

    def __init__(self, linear: nn.Linear) -> None:
        self.widths = (linear.in_features, linear.out_features)
        self._bias = linear.bias
        self._can_pack = torch._C._has_mkldnn and linear.weight.dtype == torch.float32
        self._weight: Any = linear.weight
        if self._can_pack:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())

    def __call__(self, rows: Tensor) -> Tensor:
        if self._can_pack:
            result: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, "none", [], "")
            return result
        return nn.functional.linear(rows, self._weight, self._bias)


class AdaptedLinear(nn.Module):
    """A linear layer of the base that adds each adapter's product to that adapter's run of rows."""

    def __init__(self, name: str, base: nn.Linear, runs: list[Run]) -> None:
        super().__init__()
        self.name, self.base, self._runs = name, PackedLinear(base), runs

    def forward(self, rows: Tensor) -> Tensor:
        result = self.base(rows)
        for start, end, adapter in self._runs:
            if pair := adapter.matrices.get(self.name):
                low = torch.mm(rows[0, start:end], pair.down)
                result[0, start:end].addmm_(low, pair.up)
        return result


def replace_linears(network: nn.Module, runs: list[Run]) -> dict[str, tuple[int, int]]:
    """Replace every linear layer below `network.model`; answer their widths by name. `runs` is shared and refilled."""
    widths = {}
    for parent_name, parent in list(network.named_modules()):
        for name, child in list(parent.named_children()):
            full = f"{parent_name}.{name}" if parent_name else name
            if isinstance(child, nn.Linear) and full.startswith("model."):
                adapted = AdaptedLinear(full, child, runs)
                setattr(parent, name, adapted)
                widths[full] = adapted.base.widths
    return widths


def runs_of(spans: Sequence[tuple[int, int, LoadedAdapter | None]]) -> list[Run]:
    """Join neighbouring row ranges of one adapter; ranges of the base are left out."""
    runs: list[Run] = []
    for start, end, adapter in spans:
        if adapter is None:
            continue
        if runs and runs[-1][2] is adapter and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], end, adapter)
        else:
            runs.append((start, end, adapter))
    return runs
