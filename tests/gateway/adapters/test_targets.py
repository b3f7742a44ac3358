"""Targets, as PEFT finds them: compared with PEFT's own function for random configurations."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graduand.gateway.adapters import lora_config
from graduand.gateway.adapters.targets import OUTSIDE, targeted
from graduand.gateway.errors import AdapterError

LINEAR = [
    f"model.layers.{layer}.{block}.{module}"
    for layer in (0, 1, 10)
    for block, module in (
        ("self_attn", "q_proj"),
        ("self_attn", "v_proj"),
        ("mlp", "up_proj"),
        ("mlp.experts.1", "up_proj"),
    )
]
NAMES = st.sampled_from(
    [
        "q_proj",
        "v_proj",
        "up_proj",
        "proj",
        "lm_head",
        "embed_tokens",
        "layers.1.mlp.up_proj",
        LINEAR[0],
        LINEAR[6],
        "none",
    ]
)
LISTS = st.lists(NAMES, min_size=1, max_size=3)
PATTERNS = st.sampled_from(
    [r".*q_proj", r".*\.(q|v)_proj", r".*layers\.1\..*", "q_proj", ".*", r"model\.layers\.\d+\.mlp.*"]
)
LAYERS = st.none() | st.integers(0, 10) | st.lists(st.sampled_from([0, 1, 10]), max_size=2)
BLOCKS = st.none() | st.sampled_from(["layers", "experts", "h", ["h", "layers"], []])
CONFIGS = st.fixed_dictionaries(
    {
        "target_modules": LISTS | PATTERNS,
        "exclude_modules": st.none() | LISTS | PATTERNS,
        "layers_to_transform": LAYERS,
        "layers_pattern": BLOCKS,
    }
)


@given(CONFIGS)
def test_finds_what_peft_finds(config: dict[str, Any]) -> None:
    from peft import LoraConfig
    from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists

    if lora_config.problems({"peft_type": "LORA", **config}):
        return
    if config["layers_pattern"] and config["layers_to_transform"] is None:
        return  # PEFT makes no such configuration
    theirs = LoraConfig(**config)
    found = {name: check_target_module_exists(theirs, name) for name in [*LINEAR, *OUTSIDE]}
    assert targeted(config, LINEAR) == {
        name for name, one in found.items() if one and not isinstance(one, _ExcludedModule)
    }


def test_all_linear_leaves_head_and_embeddings_out() -> None:
    assert targeted({"target_modules": "ALL-linear"}, LINEAR) == set(LINEAR)
    assert targeted({"target_modules": "all-linear", "exclude_modules": ["q_proj"]}, LINEAR) == {
        name for name in LINEAR if "q_proj" not in name
    }


@pytest.mark.parametrize("key", ["target_modules", "exclude_modules"])
def test_a_text_that_is_no_regular_expression_is_refused(key: str) -> None:
    with pytest.raises(AdapterError, match="no regular expression"):
        targeted({"target_modules": [".*"], key: "(q_proj"}, LINEAR)
