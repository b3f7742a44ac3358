"""PEFT's LoraConfig, key by key: what each setting means for serving. The one table that engine, `add` and `admit` read.

Invariant: a setting that changes what an adapter computes is implemented as PEFT computes it, or refused with the
reason; none is passed over. A key that the table does not know is refused unless its value is empty, so that a newer
PEFT's settings are never served by accident. Source: LoraConfig and LoraLayer of PEFT 0.3 to 0.21
(its `tuners/lora/config.py` and the layers beside it); a test compares the table with the installed PEFT's fields.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from graduand.gateway.errors import AdapterError

RANK = 8  # PEFT's defaults, for a file that leaves a key out
ALPHA = 8
MAX_RANK = 1 << 20  # wider than any layer; both limits only keep nonsense out of the arithmetic
MAX_ALPHA = 1e9
# PEFT finds a start for the matrices in these ways and leaves the base as it is. All others (pissa, olora, corda, loftq,
# lora_ga) take the start out of the base's weights, and again whenever the adapter is loaded.
PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica")
SHOWN = 60


class Handling(StrEnum):
    """What serving does with a key."""

    HARMLESS = "harmless"  # a finished adapter computes the same whatever it says
    IMPLEMENTED = "implemented"  # served as PEFT computes it, for the values that fit
    REFUSED = "refused"  # only an empty value or PEFT's default is served


@dataclass(frozen=True, slots=True)
class Key:
    """One key: how it is handled, PEFT's default, which values fit if it is implemented, and why others do not."""

    handling: Handling
    why: str = ""
    default: object = None
    fits: Callable[[object], bool] = bool

    def serves(self, value: object) -> bool:
        """Whether an adapter with this value can be served."""
        match self.handling:
            case Handling.HARMLESS:
                return True
            case Handling.IMPLEMENTED:
                return self.fits(value)
            case Handling.REFUSED:
                return is_empty(value) or value == self.default


def is_empty(value: object) -> bool:
    """Whether a value switches nothing on: null, false, zero, or an empty text, list or object."""
    return value is None or value in (False, "", [], {})


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_RANK


def _is_alpha(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_ALPHA


def _is_switch(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _is_text_or_texts(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _names_modules(value: object) -> bool:
    return bool(value) and _is_text_or_texts(value)


def _may_name_modules(value: object) -> bool:
    return value is None or _is_text_or_texts(value)


def _numbers_layers(value: object) -> bool:
    listed = value if isinstance(value, list) else [value]
    return value is None or all(isinstance(each, int) and not isinstance(each, bool) for each in listed)


def _leaves_the_base(value: object) -> bool:
    return _is_switch(value) or (isinstance(value, str) and value.lower() in PLAIN_STARTS)


def _generates_text(value: object) -> bool:
    return value in (None, "CAUSAL_LM")


def _matches_modules(of: Callable[[object], bool], value: object) -> bool:
    """Whether it is nothing, or gives patterns of module names a value each that `of` takes."""
    if value is None:
        return True
    return isinstance(value, Mapping) and all(_is_pattern(name) and of(each) for name, each in value.items())


def _is_pattern(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(re.compile(_ending(text)))
    except (re.error, OverflowError, RecursionError):
        return False


def _gives_ranks(value: object) -> bool:
    return _matches_modules(_is_rank, value)


def _gives_scales(value: object) -> bool:
    return _matches_modules(_is_alpha, value)


def _is_lora(value: object) -> bool:
    return value == "LORA"


_HARMLESS = Key(Handling.HARMLESS)


def _implemented(fits: Callable[[object], bool], why: str) -> Key:
    return Key(Handling.IMPLEMENTED, why, fits=fits)


def _refused(why: str, default: object = None) -> Key:
    return Key(Handling.REFUSED, why, default)


KEYS: Mapping[str, Key] = {
    # Who made it, of what.
    "peft_type": _implemented(_is_lora, "is not LoRA"),
    "task_type": _implemented(_generates_text, "is for a model with another head; only CAUSAL_LM generates text"),
    "peft_version": _HARMLESS,
    "auto_mapping": _HARMLESS,
    "base_model_name_or_path": _HARMLESS,
    "revision": _HARMLESS,
    # Training alone.
    "inference_mode": _HARMLESS,
    "lora_dropout": _HARMLESS,
    "merge_weights": _HARMLESS,  # PEFT 0.1 and 0.2: whether evaluation adds the product to the base's weights
    "runtime_config": _HARMLESS,
    # The start of the matrices: init_lora_weights says which of these counts.
    "init_lora_weights": _implemented(
        _leaves_the_base,
        "is a start that PEFT takes out of the base's weights again whenever it loads the adapter: without that it computes "
        "something else; turn pissa and olora into plain LoRA with `graduand adapters convert`, or save the adapter again with "
        "path_initial_model_for_weight_conversion",
    ),
    "loftq_config": _HARMLESS,
    "eva_config": _HARMLESS,
    "corda_config": _HARMLESS,
    "lora_ga_config": _HARMLESS,
    # Which modules carry it.
    "target_modules": _implemented(_names_modules, "names no modules; save it with an explicit list"),
    "exclude_modules": _implemented(_may_name_modules, "is neither a text nor a list of texts"),
    "layers_to_transform": _implemented(_numbers_layers, "is neither a layer's number nor a list of them"),
    "layers_pattern": _implemented(_may_name_modules, "is neither a text nor a list of texts"),
    "target_parameters": _refused("adapts bare parameters, which have no linear layer to add to"),
    "modules_to_save": _refused("replaces whole modules of the base; merge it into the base instead"),
    "trainable_token_indices": _refused("changes the base's embeddings; merge it into the base instead"),
    # Only what modules_to_save and an adapted head or embedding tie together; all three are refused.
    "ensure_weight_tying": _HARMLESS,
    "layer_replication": _refused("belongs to a base whose layers are repeated, and this one's are not"),
    "megatron_config": _refused("is for Megatron's parallel layers"),
    "megatron_core": _HARMLESS,  # a module's name, read only with megatron_config
    # The product and its scale.
    "r": _implemented(_is_rank, f"is not a rank: a whole number from 1 to {MAX_RANK}"),
    "lora_alpha": _implemented(_is_alpha, f"is not a number up to {MAX_ALPHA:g}"),
    "use_rslora": _implemented(_is_switch, "is neither true nor false"),
    "rank_pattern": _implemented(_gives_ranks, f"does not give patterns of module names ranks from 1 to {MAX_RANK}"),
    "alpha_pattern": _implemented(_gives_scales, f"does not give patterns of module names numbers up to {MAX_ALPHA:g}"),
    # How the base stores its weight, which only merging needs to know: A and B have the same shapes either way.
    "fan_in_fan_out": _HARMLESS,
    "enable_lora": _refused("adapts parts of a fused layer (PEFT 0.1 and 0.2)"),
    # What adds to the product, or computes it in another way.
    "bias": _refused("carries trained biases; merge it into the base instead", "none"),
    "lora_bias": _refused("adds a bias to each product; merge it into the base instead"),
    "use_dora": _refused("scales the base's weights too (DoRA); merge it into the base instead"),
    "use_qalora": _refused("pools its input (QALoRA)"),
    "qalora_group_size": _HARMLESS,  # read only with use_qalora
    "use_bdlora": _refused("has matrices of blocks (BD-LoRA)"),
    "alora_invocation_tokens": _refused("applies only after certain tokens (aLoRA)"),
    "arrow_config": _refused("chooses among several adapters (Arrow)"),
    "kasa_config": _refused("changes the base's weights (KaSA)"),
    "monteclora_config": _refused("adds random samples (MonteCLoRA)"),
    "velora_config": _refused("has matrices of its own (VeLoRA)"),
}


def problems(config: Mapping[str, object]) -> list[str]:
    """Why an adapter with this configuration cannot be served as PEFT computes it; empty if it can be."""
    found = []
    for name, value in {"target_modules": None, **config}.items():
        key = KEYS.get(name)
        if key is None and not is_empty(value):
            found.append(f"{name}={shown(value)} is a setting that this version does not know, so it is not served")
        elif key is not None and not key.serves(value):
            found.append(f"{name}={shown(value)} {key.why}")
    if isinstance(config.get("target_modules"), str):
        found += [
            f"{name} needs target_modules to be a list, as in PEFT"
            for name in ("layers_to_transform", "layers_pattern")
            if config.get(name) is not None
        ]
    return found


def rank(config: Mapping[str, object], module: str = "") -> int:
    """The rank of a module's matrices, of all that no pattern names if it is ""; raises AdapterError if it is no rank."""
    value = _of_module(config, "rank_pattern", module, config.get("r", RANK))
    if not isinstance(value, int) or not _is_rank(value):
        raise AdapterError(f"r={shown(value)} {KEYS['r'].why}")
    return value


def scaling(config: Mapping[str, object], module: str = "") -> float:
    """What PEFT multiplies the product of A and B with: alpha / r, or alpha / sqrt(r) if rank-stabilised.

    Source: Kalajdzievski 2023, "A rank stabilization scaling factor for fine-tuning with LoRA".
    """
    alpha = _of_module(config, "alpha_pattern", module, config.get("lora_alpha", ALPHA))
    if not isinstance(alpha, int | float) or not _is_alpha(alpha):
        raise AdapterError(f"lora_alpha={shown(alpha)} {KEYS['lora_alpha'].why}")
    width = rank(config, module)
    return float(alpha / width**0.5 if config.get("use_rslora") else alpha / width)


def _of_module(config: Mapping[str, object], key: str, module: str, otherwise: object) -> object:
    """The first pattern's value that matches the module's name, as PEFT's get_pattern_key finds it."""
    patterns = config.get(key)
    if not module or not isinstance(patterns, Mapping):
        return otherwise
    return next((value for name, value in patterns.items() if re.match(_ending(name), module)), otherwise)


def _ending(pattern: str) -> str:
    return rf"(.*\.)?({pattern})$"


def shown(value: object) -> str:
    """A value of somebody's file for a message: one line, never long, always printable."""
    text = ascii(value) if isinstance(value, str) else repr(value)
    text = " ".join(text.encode("ascii", "backslashreplace").decode().split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
