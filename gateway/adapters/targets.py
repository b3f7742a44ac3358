"""Which modules of a base an adapter's configuration targets, found as PEFT finds them.

Source: check_target_module_exists in peft/tuners/tuners_utils.py (PEFT 0.21). Call it only with configurations in which
`lora_config.problems` finds none.
"""

import re
from collections.abc import Iterable, Mapping

from graduand.gateway.errors import AdapterError

ALL_LINEAR = "all-linear"
# What PEFT can adapt beside the linear layers of the decoder, and servers of adapters mostly cannot.
OUTSIDE = ("lm_head", "model.embed_tokens")


def targeted(config: Mapping[str, object], linear: Iterable[str]) -> set[str]:
    """The modules that carry matrices, out of the decoder's `linear` layers and `OUTSIDE`; raises AdapterError.

    Names are whole, such as `model.layers.3.self_attn.q_proj`.
    """
    target = config.get("target_modules")
    everything = isinstance(target, str) and target.lower() == ALL_LINEAR
    names = linear if everything else [*linear, *OUTSIDE]
    try:
        return {
            name
            for name in names
            if not _matches(config.get("exclude_modules") or [], name)
            and (everything or (_matches(target, name) and (_is_exact(target, name) or _in_layers(config, name))))
        }
    except (re.error, OverflowError, RecursionError) as error:
        raise AdapterError(
            f"target_modules, exclude_modules or layers_pattern is no regular expression: {error}"
        ) from None


def _matches(pattern: object, name: str) -> bool:
    """A text is a regular expression of the whole name; a list holds names or their ends."""
    if isinstance(pattern, str):
        return re.fullmatch(pattern, name) is not None
    return isinstance(pattern, list) and any(name == each or name.endswith(f".{each}") for each in pattern)


def _is_exact(target: object, name: str) -> bool:
    return isinstance(target, list) and name in target


def _in_layers(config: Mapping[str, object], name: str) -> bool:
    wanted = config.get("layers_to_transform")
    if wanted is None or wanted == []:
        return True
    patterns = config.get("layers_pattern") or []
    before = [patterns] if isinstance(patterns, str) else patterns if isinstance(patterns, list) else []
    # The first number counts: later ones are experts.
    found = (
        next((match for each in before if (match := re.match(rf"(?:^|.*?\.){each}\.(?P<layer>\d+)\.", name))), None)
        if before
        else re.match(r".*?\.[^.]*\.(?P<layer>\d+)\.", name)
    )
    layer = int(found["layer"]) if found else None
    return layer in wanted if isinstance(wanted, list) else layer == wanted
