"""What a LoRA adapter on disk is: its files, its digest, its immutable name, and the format both servers accept.

Invariant: a name `name@digest` says exactly which bytes it stands for. Works without torch: the header of a safetensors
file is plain JSON. Sources: PEFT's adapter format (adapter_config.json, adapter_model.safetensors); safetensors' format
specification (8-byte little-endian header length, JSON header, data).
"""

import hashlib
import json
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graduand.gateway.adapters import lora_config
from graduand.gateway.errors import AdapterError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
DIGEST_LENGTH = 12
RANKS = (8, 16, 32, 64)
LAYER = re.compile(r"\.layers\.(\d+)\.")
TARGET_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """An adapter read from disk: where it is, its configuration, its tensors' shapes by name, and its digest."""

    path: Path
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    digest: str

    def name(self, base: str) -> str:
        """The immutable name, `base@digest`."""
        return f"{base}@{self.digest}"

    @property
    def base_model(self) -> str | None:
        """The model that it was trained on, by the name or the path that its configuration has; None without one."""
        named = self.config.get("base_model_name_or_path")
        return named if isinstance(named, str) and named else None


def digest(path: Path) -> str:
    """First 12 hex digits of the SHA-256 over adapter configuration and weights, in that order."""
    total = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        with (path / name).open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    return total.hexdigest()[:DIGEST_LENGTH]


def read(path: Path) -> AdapterFiles:
    """Read an adapter folder without loading its weights; raise AdapterError if it is not one."""
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not os.path.isfile(path / name):  # false for a path that no file system takes, too
            raise AdapterError(f"{path} is no LoRA adapter: {name} is missing; give the folder that PEFT saved")
    try:
        config = json.loads((path / CONFIG_FILE).read_bytes())
    except ValueError as error:
        raise AdapterError(f"{path / CONFIG_FILE} is not JSON: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise AdapterError(f"{path / CONFIG_FILE} does not describe a LoRA adapter (peft_type must be 'LORA')")
    return AdapterFiles(path, config, _shapes(path / WEIGHTS_FILE), digest(path))


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if length > size - 8:
            raise AdapterError(f"{path} is not a safetensors file: its header length is impossible")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise AdapterError(f"{path} is not a safetensors file: {error}") from error
    try:
        return {name: tuple(map(int, entry["shape"])) for name, entry in header.items() if name != "__metadata__"}
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise AdapterError(f"{path} is not a safetensors file: its header lacks a tensor's shape ({error!r})") from None


def servable_problems(adapter: AdapterFiles) -> list[str]:
    """Why vLLM or LoRAX would refuse or silently misread this adapter; empty if both accept it.

    Their settings are judged by `lora_config`, as everywhere; the rest is the narrower choice that both read alike.
    """
    config, problems = adapter.config, lora_config.problems(adapter.config)
    if config.get("r", lora_config.RANK) not in RANKS:
        problems.append(f"rank r={config.get('r')} is not one of {RANKS}")
    targets = config.get("target_modules")
    if not isinstance(targets, list) or not all(target in TARGET_MODULES for target in targets):
        problems.append(
            f"target_modules must be an explicit list out of {', '.join(TARGET_MODULES)}; it is {targets!r}"
        )
    if not adapter.shapes:
        problems.append("the weights file holds no tensor")
    problems += [f"tensor {name} is not a LoRA matrix" for name in adapter.shapes if ".lora_" not in name][:3]
    return problems


def missing_matrices(adapter: AdapterFiles, layers: int) -> list[str]:
    """The matrices that an adapter of `layers` layers should have and has not, as `layers.3.q_proj.lora_A`."""
    present = set()
    for name in adapter.shapes:
        layer = LAYER.search(name)
        parts = name.split(".")
        side = next((place for place, part in enumerate(parts) if part.startswith("lora_")), 0)
        if layer and side:
            present.add((int(layer[1]), parts[side - 1], parts[side]))
    targets = adapter.config.get("target_modules")
    return [
        f"layers.{layer}.{module}.{side}"
        for layer in range(layers)
        for module in (sorted(map(str, targets)) if isinstance(targets, list) else ())
        for side in ("lora_A", "lora_B")
        if (layer, module, side) not in present
    ]


def missing_problems(adapter: AdapterFiles) -> list[str]:
    """A sentence if a module has no matrix in some layer that others have one in; LoRAX would drop the whole kind."""
    found = [int(layer[1]) for name in adapter.shapes if (layer := LAYER.search(name))]
    missing = missing_matrices(adapter, max(found, default=-1) + 1)
    lost = "LoRAX leaves out a kind of module that some layer has no matrices for"
    return [f"{len(missing)} matrices are missing, such as {missing[0]}: {lost}"] if missing else []
