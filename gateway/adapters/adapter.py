"""What a LoRA adapter on disk is: its files, its digest and its immutable name.

Invariant: a name `name@digest` says exactly which bytes it stands for. Whatever the files hold, `read` answers or raises
AdapterError with one line that names file and cause. Works without torch: the header of a safetensors file is plain
JSON. Sources: PEFT's adapter format (adapter_config.json, adapter_model.safetensors); safetensors' format specification
(8-byte little-endian header length, JSON header, data).
"""

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graduand.gateway.adapters.lora_config import shown
from graduand.gateway.errors import AdapterError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PICKLED_FILE = "adapter_model.bin"
MLX_FILE = "adapters.safetensors"
DIGEST_LENGTH = 12
SAVED = "give the folder that PEFT saved"
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
MOST_HEADER = 100_000_000  # bytes; safetensors' own limit
# Bits of each element type that PEFT casts to the base's own when it loads the weights; complex numbers are none.
TYPES = {
    **{"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8},
    **{"I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8, "BOOL": 8},
}
RANKS = (8, 16, 32, 64)  # what `train fit` makes: all servers take them
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
            raise AdapterError(f"{path} is no LoRA adapter: {name} is missing; {instead(path)}")
    try:
        config = read_config(path)
        return AdapterFiles(path, config, _shapes(path / WEIGHTS_FILE), digest(path))
    except OSError as error:
        raise AdapterError(f"{path} cannot be read: {error}") from error


def read_config(path: Path) -> dict[str, Any]:
    """The folder's adapter configuration, which must be LoRA's; raises AdapterError, or OSError."""
    config = read_json(path / CONFIG_FILE)
    if config.get("peft_type") != "LORA":
        found = "it has none" if "peft_type" not in config else f"it is {shown(config['peft_type'])}"
        hint = f"; {instead(path)}" if "lora_parameters" in config else ""
        raise AdapterError(
            f"{path / CONFIG_FILE} does not describe a LoRA adapter: peft_type must be 'LORA', {found}{hint}"
        )
    return config


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds a JSON object; raises AdapterError that names the file and the cause, or OSError."""
    data = path.read_bytes()
    refuse_pointer(data, path)
    try:
        value = json.loads(data)
    except RecursionError:
        raise AdapterError(f"{path} is not JSON that can be read: it is nested too deeply") from None
    except ValueError as error:
        raise AdapterError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise AdapterError(f"{path} holds {shown(value)} where a JSON object belongs")
    return value


def refuse_pointer(start: bytes, path: Path) -> None:
    """Raise AdapterError if a file begins as Git LFS's placeholder for it does."""
    if start.startswith(LFS_POINTER):
        raise AdapterError(f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` where you cloned it")


def instead(path: Path) -> str:
    """What there is in place of an adapter's two files, and the command that helps."""
    try:
        return _there(path)
    except (OSError, ValueError):  # a path that no file system takes
        return SAVED


def _there(path: Path) -> str:
    convert = f"`graduand adapters convert {path} --out DIR` makes an adapter of it"
    if (path / PICKLED_FILE).is_file():
        return f"there is {PICKLED_FILE}, which older versions of PEFT save; {convert}"
    if any(path.glob("adapter_model-*-of-*")):
        return f"there are its parts; {convert}"
    if (path / MLX_FILE).is_file():
        return f"there is {MLX_FILE}, as MLX saves it; {convert}"
    if found := below(path):
        return f"there are adapters in {', '.join(found[:5])}: name one of them"
    return SAVED


def below(path: Path) -> list[str]:
    """The folders one level down that hold an adapter, such as `checkpoint-100`; the last checkpoint first."""
    found = [each.parent for each in path.glob(f"*/{CONFIG_FILE}") if each.is_file()]
    numbers = {each: int(tail) if (tail := each.name.rpartition("-")[2]).isdecimal() else -1 for each in found}
    return [each.name for each in sorted(found, key=lambda each: (-numbers[each], each.name))]


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Every tensor's shape, from a header that describes this very file; raises AdapterError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        refuse_pointer(prefix + file.read(len(LFS_POINTER)), path)
        file.seek(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if length > min(size - 8, MOST_HEADER):
            raise AdapterError(f"{path} is not a safetensors file: its header length is impossible")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise AdapterError(f"{path} is not a safetensors file: its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise AdapterError(f"{path} is not a safetensors file: its header holds {shown(header)}, not tensors by name")
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    if problem := _damage(entries, size - 8 - length):
        raise AdapterError(f"{path} is damaged: {problem}")
    return {name: tuple(entry["shape"]) for name, entry in entries.items()}


def _damage(entries: Mapping[str, Any], data: int) -> str | None:
    """What is wrong with a header's entries, if anything is; `data` bytes follow it."""
    end = 0
    for name, entry in entries.items():
        if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
            return f"its header has no dtype, shape and data_offsets for the tensor {shown(name)}"
        kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(kind, str) or kind not in TYPES:
            return f"the tensor {shown(name)} has the type {shown(kind)}; weights are {', '.join(TYPES)}"
        if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
            return f"the header's shape or data_offsets of the tensor {shown(name)} are no lists of whole numbers"
        if (offsets[1] - offsets[0]) * 8 != math.prod(shape) * TYPES[kind]:
            return f"the tensor {shown(name)} has {offsets[1] - offsets[0]} bytes, which do not fit its shape and type"
        end = max(end, offsets[1])
    if end != data:
        return f"its header describes {end} bytes of weights, and the file has {data}: it was cut off or joined"
    return None


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(each) is int and 0 <= each < 1 << 53 for each in value)
