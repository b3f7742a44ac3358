"""Whether an adapter is whole and fits a base: a pair of matrices of the right shapes for every module that it targets.

Reads names and shapes only, so that the engine and `train admit` ask one function, before weights are loaded. Invariant:
what `pairs` answers is exactly the modules that PEFT would adapt, each with both matrices; anything else is refused with
what was found and where. It does not guess why.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graduand.gateway.adapters import lora_config
from graduand.gateway.adapters.adapter import AdapterFiles
from graduand.gateway.adapters.lora_config import shown
from graduand.gateway.adapters.targets import targeted
from graduand.gateway.errors import AdapterError

Layout = Mapping[str, tuple[int, int]]  # the decoder's linear layers: width in, width out, by whole name
TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")
LAYER_NUMBER = re.compile(r"\.layers\.(\d+)\.")
MERGE = "merge it into the base instead (PEFT's merge_and_unload)"
LINEAR_ONLY = f"adapters of the decoder's linear layers alone are served: {MERGE}, or train it without"
# What a tensor that is no matrix of a linear layer is, by a part of its name; the first that is found counts.
OTHER_TENSORS = {
    "lora_embedding_": f"is a matrix of the embeddings, and only linear layers of the decoder are adapted: {MERGE}",
    "lora_magnitude_vector": f"belongs to DoRA, which scales the base's weights too: {MERGE}",
    ".base_layer.": "is a weight of the base itself, which PEFT saves beside an adapted head or embeddings "
    f"(save_embedding_layers): {MERGE}",
    "modules_to_save": f"replaces a module of the base: {MERGE}",
    "trainable_tokens": f"changes single embeddings: {MERGE}",
    "embed_tokens": "is the embeddings themselves, which PEFT saves when the vocabulary was resized or with "
    f"save_embedding_layers: {MERGE}, or save the adapter again with save_embedding_layers=False if they are the base's",
    "lm_head": "is the head itself, which PEFT saves when the vocabulary was resized or with save_embedding_layers: "
    f"{MERGE}, or save the adapter again with save_embedding_layers=False if it is the base's",
    ".lora_a": "is named as MLX names it: `graduand adapters convert` renames it",
    ".lora_bias": f"is a bias beside the product: {MERGE}",
    ".bias": f"is a trained bias: {MERGE}",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """A module's two tensors by name, its rank and its scale."""

    down: str
    up: str
    rank: int
    scaling: float


def named(shapes: Iterable[str]) -> dict[str, dict[str, str]]:
    """The tensors' names by module and side (`A`, `B`); raises AdapterError at one that is no such matrix."""
    sides: dict[str, dict[str, str]] = defaultdict(dict)
    for name in shapes:
        found = TENSOR.fullmatch(name)
        if found is None or "lora_" in found["module"]:
            raise AdapterError(f"the tensor {shown(name)} {_what(name)}")
        if found["side"] in sides[found["module"]]:
            raise AdapterError(f"the matrix {found['side']} of {shown(found['module'])} is there under two names")
        sides[found["module"]][found["side"]] = name
    if not sides:
        raise AdapterError("the weights file holds no LoRA matrix")
    return dict(sides)


def _what(name: str) -> str:
    return next(
        (said for part, said in OTHER_TENSORS.items() if part in name),
        "is not named as PEFT names a LoRA matrix (base_model.model.MODULE.lora_A.weight)",
    )


def pairs(files: AdapterFiles, layout: Layout) -> dict[str, Pair]:
    """The matrices of every targeted module of a base; raises AdapterError that names the folder and what does not fit."""
    try:
        return _pairs(files, layout)
    except AdapterError as error:
        raise AdapterError(f"adapter {files.path}: {error}") from error


def _pairs(files: AdapterFiles, layout: Layout) -> dict[str, Pair]:
    if problems := lora_config.problems(files.config):
        raise AdapterError(f"it cannot be served as PEFT computes it: {'; '.join(problems)}")
    wanted = _wanted(files.config, layout)
    sides = named(files.shapes)
    _compare(set(sides), wanted, layout)
    return {module: _pair(module, sides[module], files, layout[module]) for module in sorted(sides)}


def _wanted(config: Mapping[str, object], layout: Layout) -> set[str]:
    wanted = targeted(config, layout)
    if outside := sorted(wanted - set(layout)):
        raise AdapterError(f"it targets {', '.join(outside)}; {LINEAR_ONLY}")
    if not wanted:
        raise AdapterError(
            f"its target_modules {shown(config.get('target_modules'))} match none of the base's {len(layout)} linear layers"
        )
    return wanted


def _compare(found: set[str], wanted: set[str], layout: Layout) -> None:
    """Raise AdapterError unless the file has exactly the wanted modules."""
    if unknown := sorted(found - set(layout)):
        raise AdapterError(
            f"{len(found) - len(unknown)} of the {len(found)} modules in its file are linear layers of the base; "
            f"{shown(unknown[0])} is not: {_range(layout)}"
        )
    if missing := sorted(wanted - found):
        kinds = sorted({module.rpartition(".")[2] for module in missing})
        raise AdapterError(
            f"it targets {len(wanted)} modules of the base, and {len(missing)} of them are missing in its file "
            f"({', '.join(kinds)}), such as {missing[0]}"
        )
    if surplus := sorted(found - wanted):
        raise AdapterError(
            f"its file holds weights for {surplus[0]} ({len(surplus)} such modules in all), which its configuration does "
            "not target"
        )


def _range(layout: Layout) -> str:
    layers = {int(layer[1]) for name in layout if (layer := LAYER_NUMBER.search(name))}
    example = next(iter(layout), "none")
    return f"the base has {len(layers)} layers, with names such as {example}"


def _pair(module: str, sides: Mapping[str, str], files: AdapterFiles, widths: tuple[int, int]) -> Pair:
    if absent := {"A", "B"} - set(sides):
        raise AdapterError(f"{module} has no matrix {absent.pop()} in its file; both are needed")
    rank = lora_config.rank(files.config, module)
    for side, shape in {"A": (rank, widths[0]), "B": (widths[1], rank)}.items():
        found = files.shapes[sides[side]]
        if 0 in found:
            raise AdapterError(
                f"{module}.lora_{side} is empty in its file: it has the shape {found}, needed is {shape}"
            )
        if found != shape:
            raise AdapterError(
                f"{module}.lora_{side} is {found} in its file, where rank {rank} of its configuration and the base's "
                f"layer of {widths[0]} by {widths[1]} need {shape}"
            )
    return Pair(sides["A"], sides["B"], rank, lora_config.scaling(files.config, module))
