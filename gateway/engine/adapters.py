"""LoRA adapters in memory: read from PEFT's folder, checked against the base, held ready for batched application.

Invariant: an adapter is served only if `fitting` finds it whole. Anything else is refused with the reason.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from graduand.gateway.adapters import adapter as adapter_files
from graduand.gateway.adapters import beside, fitting
from graduand.gateway.adapters.fitting import Layout
from graduand.gateway.errors import AdapterError
from graduand.rollout.spec.names import check_name


@dataclass(frozen=True, slots=True)
class Pair:
    """One module's two matrices, transposed for rows on the left; `up` carries the scaling."""

    down: Tensor
    up: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class LoadedAdapter:
    """An adapter that fits the base: its name, where it came from, and its matrices by module name."""

    name: str
    path: str
    matrices: Mapping[str, Pair]


def load(name: str, path: Path, layout: Layout) -> LoadedAdapter:
    """Read the adapter folder and check it against the base's layout; raise AdapterError with the reason."""
    check_name(name)
    wanted = fitting.pairs(adapter_files.read(path), layout)
    try:
        tensors = load_file(path / adapter_files.WEIGHTS_FILE)
        matrices = {
            module: Pair(_rows(tensors, pair.down), (_rows(tensors, pair.up) * pair.scaling).contiguous())
            for module, pair in wanted.items()
        }
    except AdapterError as error:
        raise AdapterError(f"adapter {path}: {error}") from error
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise AdapterError(f"adapter {path}: its weights cannot be read: {error}") from error
    return LoadedAdapter(name, str(path), matrices)


def _rows(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """A matrix in float32, transposed for rows on the left; raises AdapterError if it holds a value that is no number."""
    matrix = tensors[name].float()
    if not bool(torch.isfinite(matrix).all()):
        raise AdapterError(f"the tensor {name} holds values that are not finite in float32")
    return matrix.t().contiguous()


class AdapterTable:
    """The adapters by name. Running requests keep the adapter that they started with, whatever happens here."""

    def __init__(self, layout: Layout, tokenizer: Any) -> None:
        self._layout, self._tokenizer = layout, tokenizer
        self._by_name: dict[str, LoadedAdapter] = {}
        self._changing = threading.Lock()

    def get(self, name: str) -> LoadedAdapter | None:
        """The adapter of that name, if loaded."""
        return self._by_name.get(name)

    def all(self) -> list[LoadedAdapter]:
        """All loaded adapters, oldest first."""
        return list(self._by_name.values())

    def load(self, name: str, path: Path, *, replace: bool = False) -> LoadedAdapter | None:
        """Load and register; None if the name is taken and `replace` was not asked for."""
        with self._changing:
            if name in self._by_name and not replace:
                return None
            loaded = load(name, path, self._layout)
            if found := beside.differences(path, self._tokenizer):
                raise AdapterError(f"adapter {path}: {'; '.join(found)}")
            self._by_name[name] = loaded
            return loaded

    def unload(self, name: str) -> bool:
        """Forget the adapter; False if it is not loaded."""
        with self._changing:
            return self._by_name.pop(name, None) is not None
