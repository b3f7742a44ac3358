"""Turns an adapter as other tools leave it into plain LoRA that every server reads alike.

Reads PEFT's older `.bin` (without running what is pickled in it), weights in parts, and MLX's layout; folds patterns of
ranks and scales into the matrices; turns a start that was taken out of the base (PiSSA, OLoRA) into matrices of its own,
as PEFT does with path_initial_model_for_weight_conversion. Invariant: a converted adapter is written only after PEFT
itself says the same with it on a fresh base as it said with the source. Runs on the processor, in float32.
"""

import json
import math
import pickle
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from graduand.gateway.adapters import adapter, base_model, fitting, lora_config
from graduand.gateway.adapters.adapter import CONFIG_FILE, MLX_FILE, PICKLED_FILE, RANKS, WEIGHTS_FILE
from graduand.gateway.adapters.fitting import Pair
from graduand.gateway.adapters.lora_config import shown
from graduand.gateway.errors import AdapterError, ConfigError

MOST_APART = 1e-3  # log-probabilities
# Starts that are a function of the base's weights alone, so that they can be had again.
REPEATABLE_STARTS = ("pissa", "olora")
LEAST_OF_START = (
    1e-4  # what may be left of a start's change of the weights beyond its rank, by its largest singular value
)
PROBE_TOKENS, PROBES = 24, 4

Tensors = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written: what was done, and how far PEFT is from itself with source and result, in log-probabilities."""

    path: Path
    digest: str
    done: list[str] = field(default_factory=list)
    apart: float = 0.0


@dataclass(frozen=True, slots=True)
class Source:
    """An adapter in PEFT's terms, whatever it came as."""

    config: dict[str, Any]
    tensors: Tensors
    done: list[str]


def convert(source: Path, out: Path, base: str | None) -> Converted:
    """Write the adapter in `source` as plain LoRA to the new folder `out`; raises AdapterError with what stands against it."""
    if out.exists():
        raise ConfigError(f"{out} is there already; give --out a folder that is not")
    found = _mlx(source) if _is_mlx(source) else _peft(source)
    named = base or found.config.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise ConfigError(f"{source} does not name the base that it was trained on; name it with --base")
    try:
        layout = base_model.linear_layers(named)
    except (ConfigError, OSError) as error:
        raise ConfigError(f"the base of {source} cannot be read: {error}; name it with --base") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as work:
        whole, plain = Path(work, "source"), Path(work, "plain")
        _write(whole, found.config, found.tensors)
        files = adapter.read(whole)
        start = _start(files.config)
        neutral = replace(files, path=source, config={**files.config, "init_lora_weights": True})
        pairs = fitting.pairs(neutral if start else replace(files, path=source), layout)
        said, moved = _said(named, whole, list(pairs) if start else [])
        config, tensors, folded = _plain(found, pairs, moved, layout)
        _write(plain, config, tensors)
        apart = float((_said(named, plain, [])[0] - said).abs().max())
        if not apart <= MOST_APART:
            raise AdapterError(
                f"{source} cannot be converted: PEFT's answers with the result are {apart:.2g} from its answers with the source"
            )
        digest = adapter.digest(plain)
        shutil.move(plain, out)
    done = [*found.done, *folded] or ["nothing had to be changed"]
    return Converted(out, digest, done, apart)


def _start(config: Mapping[str, object]) -> str | None:
    """The start that was taken out of the base, if there is one; raises AdapterError if it cannot be had again."""
    value = config.get("init_lora_weights")
    if lora_config.KEYS["init_lora_weights"].serves(value):
        return None
    if value in REPEATABLE_STARTS:
        return str(value)
    raise AdapterError(
        f"init_lora_weights={shown(value)} cannot be converted: its start was drawn or needs data that are not in the file; "
        "save the adapter again where it was trained, with path_initial_model_for_weight_conversion"
    )


def _peft(source: Path) -> Source:
    """What PEFT saved, whole, in parts or pickled; raises AdapterError if there is none."""
    if not (source / CONFIG_FILE).is_file():
        raise AdapterError(f"{source} is no LoRA adapter: {CONFIG_FILE} is missing; {adapter.instead(source)}")
    config = adapter.read_config(source)
    if (source / WEIGHTS_FILE).is_file():
        adapter.read(source)  # for its reasons
        return Source(config, _safe(source / WEIGHTS_FILE), [])
    if parts := sorted(source.glob("adapter_model-*-of-*.safetensors")):
        _refuse_lost_parts(parts)
        return Source(config, _joined([_safe(part) for part in parts], source), [f"joined {len(parts)} parts"])
    if (source / PICKLED_FILE).is_file():
        return Source(config, _unpickled(source / PICKLED_FILE), [f"read {PICKLED_FILE} without running code"])
    raise AdapterError(f"{source} is no LoRA adapter: {WEIGHTS_FILE} is missing; {adapter.instead(source)}")


def _refuse_lost_parts(parts: list[Path]) -> None:
    counts = {part.stem.rpartition("-of-")[2] for part in parts}
    if len(counts) != 1 or not (count := counts.pop()).isdecimal() or int(count) != len(parts):
        raise AdapterError(
            f"{parts[0].parent} lacks parts of its weights: there are {', '.join(part.name for part in parts)}"
        )


def _joined(parts: list[Tensors], source: Path) -> Tensors:
    whole: Tensors = {}
    for part in parts:
        if twice := whole.keys() & part.keys():
            raise AdapterError(f"{source} has the tensor {shown(min(twice))} in two parts")
        whole |= part
    return whole


def _safe(path: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    adapter.refuse_pointer(path.read_bytes()[:64] if path.stat().st_size < 1024 else b"", path)
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise AdapterError(f"{path} cannot be read: {error}") from error


def _unpickled(path: Path) -> Tensors:
    """The tensors of a pickled file; nothing else that is pickled is loaded, and no code runs."""
    import torch

    with path.open("rb") as file:
        adapter.refuse_pointer(file.read(64), path)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise AdapterError(
            f"{path} holds more than tensors, and nothing else is unpickled: it could run code"
        ) from error
    except (OSError, ValueError, LookupError, TypeError, EOFError, RuntimeError) as error:
        raise AdapterError(f"{path} cannot be read: {str(error).strip().splitlines()[0]}") from error
    if not isinstance(value, dict) or not all(isinstance(each, torch.Tensor) for each in value.values()):
        raise AdapterError(f"{path} does not hold tensors by name")
    return {str(name): each.detach().contiguous().clone() for name, each in value.items()}


def _is_mlx(source: Path) -> bool:
    return (source / MLX_FILE).is_file() and not (source / WEIGHTS_FILE).is_file()


def _mlx(source: Path) -> Source:
    """MLX's layout in PEFT's terms: `x @ lora_a @ lora_b * scale`, the matrices the other way round."""
    try:
        settings = adapter.read_json(source / CONFIG_FILE)
    except OSError as error:
        raise AdapterError(f"{source / CONFIG_FILE} cannot be read: {error}") from error
    kind, given = settings.get("fine_tune_type", "lora"), settings.get("lora_parameters")
    if kind != "lora":
        raise AdapterError(
            f"{source}: fine_tune_type={shown(kind)} is not plain LoRA; fuse it into the base (mlx_lm.fuse)"
        )
    scale = given.get("scale") if isinstance(given, dict) else None
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not math.isfinite(scale):
        raise AdapterError(f"{source / CONFIG_FILE}: lora_parameters.scale={shown(scale)} is not a number")
    tensors, ranks = {}, dict[str, int]()
    for name, matrix in _safe(source / MLX_FILE).items():
        module, _, side = name.rpartition(".")
        if side not in ("lora_a", "lora_b") or matrix.dim() != 2:
            raise AdapterError(f"{source / MLX_FILE}: the tensor {shown(name)} is no matrix of MLX's LoRA")
        tensors[f"base_model.model.{module}.lora_{side[-1].upper()}.weight"] = matrix.t().contiguous()
        ranks[module] = int(matrix.shape[1 if side == "lora_a" else 0])
    if not ranks:
        raise AdapterError(f"{source / MLX_FILE} holds no LoRA matrix")
    rank = max(ranks.values())
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": settings.get("model"), "r": rank,
        "lora_alpha": scale * rank, "target_modules": sorted(ranks), "init_lora_weights": True, "inference_mode": True,
    }  # fmt: skip
    uneven = {module: each for module, each in ranks.items() if each != rank}
    if uneven:
        config["rank_pattern"] = {_exactly(module): each for module, each in uneven.items()}
        config["alpha_pattern"] = {_exactly(module): scale * each for module, each in uneven.items()}
    return Source(config, tensors, ["renamed MLX's matrices"])


def _exactly(module: str) -> str:
    return module.replace(".", r"\.")


def _plain(
    found: Source, pairs: Mapping[str, Pair], moved: Mapping[str, Any], layout: fitting.Layout
) -> tuple[dict[str, Any], Tensors, list[str]]:
    """Configuration and tensors of the same computation as plain LoRA, and what was done for it."""
    import torch

    ranks = {pair.rank for pair in pairs.values()}
    largest = max(ranks) * (2 if moved else 1)
    rank = next((each for each in RANKS if each >= largest), largest)
    kept = {"target_modules": _targets(pairs, layout)} | dict.fromkeys(
        ("exclude_modules", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern")
    )
    config = {name: value for name, value in found.config.items() if name not in kept} | {
        "target_modules": kept["target_modules"]
    }
    names = {module: [f"base_model.model.{module}.lora_{side}.weight" for side in "AB"] for module in pairs}
    if len({(pair.rank, pair.scaling) for pair in pairs.values()}) == 1 and rank in ranks:
        tensors = {
            new: found.tensors[old]
            for module, pair in pairs.items()
            for new, old in zip(names[module], (pair.down, pair.up), strict=True)
        }
        return config, tensors, []
    tensors = {}
    for module, pair in pairs.items():
        down, up = found.tensors[pair.down].float(), found.tensors[pair.up].float() * pair.scaling
        if moved:
            first, second = _factors(module, moved[module], pair.rank)
            down, up = torch.cat([down, first]), torch.cat([up, second], dim=1)
        lacks = rank - down.shape[0]
        tensors[names[module][0]] = torch.nn.functional.pad(down, (0, 0, 0, lacks)).contiguous()
        tensors[names[module][1]] = torch.nn.functional.pad(up, (0, lacks)).contiguous()
    config |= {"r": rank, "lora_alpha": rank, "use_rslora": False, "init_lora_weights": True}
    done = [f"folded ranks and scales into the matrices: rank {rank}, scale 1"]
    return (
        config,
        tensors,
        [*done, f"wrote {found.config['init_lora_weights']}'s start out as matrices"] if moved else done,
    )


def _targets(pairs: Mapping[str, Pair], layout: fitting.Layout) -> list[str]:
    """The shortest names that target exactly these modules."""
    kinds = {module.rpartition(".")[2] for module in pairs}
    short = {name for name in layout if name.rpartition(".")[2] in kinds} == set(pairs)
    return sorted(kinds if short else pairs)


def _factors(module: str, moved: Any, rank: int) -> tuple[Any, Any]:
    """What the start took out of a weight, as two matrices; raises AdapterError if it was no product of that rank."""
    import torch

    left, values, right = torch.linalg.svd(moved, full_matrices=False)
    if len(values) > rank and values[rank] > LEAST_OF_START * values[0]:
        raise AdapterError(f"the start of {module} took more out of the base than a product of rank {rank}")
    root = values[:rank].sqrt()
    return root[:, None] * right[:rank], left[:, :rank] * root


def _said(base: str, folder: Path, modules: list[str]) -> tuple[Any, dict[str, Any]]:
    """PEFT's log-probabilities with the adapter on a fresh base, and by how much it changed the base's `modules`."""
    import torch
    from peft import PeftModel

    model, _ = base_model.load(base)
    before = {name: model.get_submodule(name).weight.detach().clone() for name in modules}
    places = {name: model.get_submodule(name) for name in modules}  # PEFT wraps them, and the layers stay the same
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tuned = PeftModel.from_pretrained(model, folder).eval()
        except (ValueError, TypeError, LookupError, ImportError, RuntimeError) as error:
            raise AdapterError(f"PEFT cannot load it: {str(error).strip().splitlines()[0]}") from error
    size = int(model.config.vocab_size)
    tokens = torch.tensor([[(17 * i + 101 * row + 11) % size for i in range(PROBE_TOKENS)] for row in range(PROBES)])
    with torch.inference_mode():
        said = tuned(input_ids=tokens, use_cache=False).logits.float().log_softmax(-1)
    return said, {name: (places[name].weight.detach() - weight).float() for name, weight in before.items()}


def _write(folder: Path, config: Mapping[str, Any], tensors: Tensors) -> None:
    from safetensors.torch import save_file

    folder.mkdir()
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
