"""LoRA adapters in memory: read from PEFT's folder, checked against the base, held ready for batched application.

Invariant: an adapter is served only if its configuration is one that `lora_config` knows how to serve, and its tensors
are those of exactly the modules that it targets in the base. Anything else is refused with the reason.
"""

import re
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from graduand.gateway.adapters import adapter as adapter_files
from graduand.gateway.adapters import lora_config
from graduand.gateway.adapters.targets import targeted
from graduand.gateway.errors import AdapterError
from graduand.rollout.spec.names import check_name

Layout = Mapping[str, tuple[int, int]]
TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")
LAYER_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


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
    files = adapter_files.read(path)
    if problems := lora_config.problems(files.config):
        raise AdapterError(f"adapter {path} cannot be served as PEFT computes it: {'; '.join(problems)}")
    wanted = _wanted(files.config, layout, path)
    try:
        tensors = load_file(path / adapter_files.WEIGHTS_FILE)
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"cannot read the weights of {path}: {error}") from error
    sides = _sides(tensors, path)
    _check_modules(sides, layout, wanted, path)
    rank, scaling = lora_config.rank(files.config), lora_config.scaling(files.config)
    matrices = {}
    for module, pair in sides.items():
        _check_pair(module, pair, layout[module], rank, path)
        matrices[module] = Pair(pair["A"].float().t().contiguous(), (pair["B"].float() * scaling).t().contiguous())
    return LoadedAdapter(name, str(path), matrices)


def _wanted(config: Mapping[str, Any], layout: Layout, path: Path) -> set[str]:
    """The modules that must have matrices; raise AdapterError if they are none or the engine cannot adapt one."""
    wanted = targeted(config, layout)
    outside = sorted(wanted - set(layout))
    if outside:
        text = f"targets {', '.join(outside)}; this engine adapts the linear layers of the decoder only"
        raise AdapterError(f"adapter {path} {text}")
    if not wanted:
        raise AdapterError(f"adapter {path}: its target_modules match no linear layer of the base model")
    return wanted


def _sides(tensors: dict[str, Tensor], path: Path) -> dict[str, dict[str, Tensor]]:
    sides: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in tensors.items():
        found = TENSOR.fullmatch(key)
        if found is None:
            raise AdapterError(f"adapter {path}: tensor {key} is not a LoRA matrix in PEFT's naming")
        if not bool(torch.isfinite(tensor).all()):
            raise AdapterError(f"adapter {path}: tensor {key} holds values that are not finite")
        sides[found["module"]][found["side"]] = tensor
    if not sides:
        raise AdapterError(f"adapter {path} holds no LoRA matrix")
    return sides


def _check_modules(sides: Mapping[str, Any], layout: Layout, wanted: set[str], path: Path) -> None:
    unknown = sorted(set(sides) - set(layout))
    if unknown:
        raise AdapterError(
            f"adapter {path} matches {len(sides) - len(unknown)} of its {len(sides)} modules in the base model; "
            f"{unknown[0]} is not there: it was trained on another base"
        )
    missing = sorted(wanted - set(sides))
    kinds = {_kind(module) for module in sides}
    absent = sorted({_kind(module).rsplit(".", 1)[-1] for module in missing if _kind(module) not in kinds})
    if absent:
        raise AdapterError(f"adapter {path} targets {', '.join(absent)} but holds no weights for it")
    if missing:
        raise AdapterError(f"adapter {path} has missing layers: nothing for {missing[0]} ({len(missing)} in all)")
    surplus = sorted(set(sides) - wanted)
    if surplus:
        text = f"holds weights for {surplus[0]} ({len(surplus)} in all), which its configuration does not target"
        raise AdapterError(f"adapter {path} {text}")


def _check_pair(module: str, pair: dict[str, Tensor], widths: tuple[int, int], rank: int, path: Path) -> None:
    if set(pair) != {"A", "B"}:
        raise AdapterError(f"adapter {path}: {module} has only lora_{next(iter(pair))}; both matrices are needed")
    wanted = {"A": (rank, widths[0]), "B": (widths[1], rank)}
    for side, shape in wanted.items():
        if tuple(pair[side].shape) != shape:
            raise AdapterError(
                f"adapter {path}: {module}.lora_{side} is {tuple(pair[side].shape)} where the base model and r={rank} "
                f"need {shape}: it was trained on another base or its configuration is not its own"
            )


def _kind(module: str) -> str:
    """The module's name without its layer number: all layers of one kind share it."""
    return LAYER_NUMBER.sub("*", module)


class AdapterTable:
    """The adapters by name. Running requests keep the adapter that they started with, whatever happens here."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
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
            self._by_name[name] = loaded
            return loaded

    def unload(self, name: str) -> bool:
        """Forget the adapter; False if it is not loaded."""
        with self._changing:
            return self._by_name.pop(name, None) is not None
