"""One table of PEFT's settings: whole, the same for all who read it, and true to what PEFT computes."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from graduand.gateway.adapters import adapter, lora_config, servers
from graduand.gateway.adapters.servers import Server
from graduand.gateway.engine import adapters as loading
from graduand.gateway.errors import AdapterError

# Keys of old versions, which the installed PEFT has no longer.
OLD = {"merge_weights", "enable_lora"}
MODULES = ["q_proj", "v_proj"]
PLAIN = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": MODULES}
REFUSED: list[dict[str, Any]] = [
    {"use_dora": True},
    {"lora_bias": True},
    {"bias": "lora_only"},
    {"bias": "all"},
    {"rank_pattern": {"v_proj": 0}},
    {"rank_pattern": {"v_proj": 4.5}},
    {"rank_pattern": {"(": 4}},
    {"rank_pattern": ["v_proj"]},
    {"alpha_pattern": {"v_proj": "64"}},
    {"alpha_pattern": {"v_proj": float("nan")}},
    {"modules_to_save": ["lm_head"]},
    {"trainable_token_indices": [1, 2]},
    {"layer_replication": [[0, 15], [14, 29]]},
    {"target_parameters": ["mlp.experts.down_proj"]},
    {"alora_invocation_tokens": [5, 6]},
    {"use_qalora": True},
    {"use_bdlora": {"nblocks": 2}},
    {"arrow_config": {"top_k": 3}},
    {"kasa_config": {"beta": 1e-4}},
    {"monteclora_config": {"num_samples": 2}},
    {"velora_config": {"num_groups": 2}},
    {"megatron_config": {"tensor_model_parallel_size": 2}},
    {"enable_lora": [True, False, True]},
    {"task_type": "SEQ_CLS"},
    *(
        {"init_lora_weights": start}
        for start in ("pissa", "pissa_niter_16", "olora", "OLoRA", "corda", "loftq", "lora_ga")
    ),
    {"init_lora_weights": "of-tomorrow"},
    {"a_setting_of_tomorrow": 1},
    {"a_setting_of_tomorrow": {"with": "values"}},
    {"target_modules": None},
    {"target_modules": []},
    {"target_modules": [7]},
    {"target_modules": ".*q_proj", "layers_to_transform": [0]},
    {"exclude_modules": 7},
    {"layers_to_transform": "0-3"},
    {"layers_to_transform": [True]},
    {"use_rslora": "false"},
    {"r": 0},
    {"r": 8.0},
    {"r": True},
    {"r": None},
    {"lora_alpha": float("nan")},
    {"lora_alpha": float("inf")},
    {"lora_alpha": "16"},
    {"lora_alpha": 10**400},
    {"r": 10**400},
]
HARMLESS: list[dict[str, Any]] = [
    {},
    {"use_rslora": True},
    {"rank_pattern": {"v_proj": 8}, "alpha_pattern": {".*": 16}},
    {"fan_in_fan_out": True},
    {"lora_dropout": 0.3},
    {"init_lora_weights": False},
    {"init_lora_weights": None},
    {"init_lora_weights": "gaussian"},
    {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
    {"init_lora_weights": "orthogonal"},
    {"init_lora_weights": "mica"},
    {"qalora_group_size": 32},
    {"megatron_core": "megatron.core"},
    {"bias": "none", "rank_pattern": {}, "modules_to_save": None, "lora_bias": False},
    {"a_setting_of_tomorrow": None, "another": {}, "a_third": False},
    {"task_type": "CAUSAL_LM", "peft_version": "9.9.9", "revision": "abc"},
]


def test_the_table_has_every_field_of_the_installed_peft() -> None:
    from peft import LoraConfig

    fields = {field.name: field for field in dataclasses.fields(LoraConfig)}
    assert set(lora_config.KEYS) - OLD == set(fields)
    defaults = LoraConfig(target_modules=MODULES).to_dict() | {"target_modules": MODULES}
    assert lora_config.problems(json.loads(json.dumps(defaults))) == []
    for name, key in lora_config.KEYS.items():
        if key.handling is lora_config.Handling.REFUSED and name not in OLD:
            default = defaults[name]
            assert default == key.default or lora_config.is_empty(default), name
    assert (defaults["r"], defaults["lora_alpha"]) == (lora_config.RANK, lora_config.ALPHA)


@pytest.mark.parametrize("extra", REFUSED, ids=str)
def test_what_changes_the_computation_is_refused_by_all_readers(extra: dict[str, Any], tmp_path: Path) -> None:
    config = PLAIN | extra
    problems = lora_config.problems(config)
    assert problems
    assert any(name in problem for problem in problems for name in extra)
    (folder, layout) = _saved(tmp_path, config)
    with pytest.raises(AdapterError, match="cannot be served as PEFT computes it"):
        loading.load("one", folder, layout)
    for server in Server:
        assert problems == servers.problems(adapter.read(folder), server)


@pytest.mark.parametrize("extra", HARMLESS, ids=str)
def test_what_changes_nothing_is_served_by_all_readers(extra: dict[str, Any], tmp_path: Path) -> None:
    (folder, layout) = _saved(tmp_path, PLAIN | extra)
    assert loading.load("one", folder, layout).matrices.keys() == layout.keys()
    for server in Server:
        assert servers.problems(adapter.read(folder), server) == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(name=st.text(min_size=1, max_size=8), value=VALUES)
def test_a_key_that_nobody_knows_is_served_only_empty(name: str, value: Any) -> None:
    if name in lora_config.KEYS:
        return
    assert bool(lora_config.problems(PLAIN | {name: value})) == bool(value)


@given(st.dictionaries(st.sampled_from(sorted(lora_config.KEYS)), VALUES, max_size=4))
def test_any_configuration_has_a_verdict_and_a_served_one_a_scale(extra: dict[str, Any]) -> None:
    config = PLAIN | extra
    if not lora_config.problems(config):
        assert lora_config.rank(config) >= 1
        assert math.isfinite(lora_config.scaling(config))


# Against PEFT itself, on a model small enough to make for each case.
SERVED: list[dict[str, Any]] = [
    {},
    {"use_rslora": True},
    {"fan_in_fan_out": True},
    {"init_lora_weights": "orthogonal"},
    {"init_lora_weights": "mica"},
    {"init_lora_weights": "gaussian"},
    {"rank_pattern": {"v_proj": 2}},
    {"rank_pattern": {r"layers\.\d+\.self_attn\.q_proj": 8, "q_proj": 2, "1.self_attn.v_proj": 1}},
    {"alpha_pattern": {"v_proj": 64, "model.layers.0.self_attn.q_proj": 1.5}},
    {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"q_proj": 3}, "use_rslora": True},
    {"target_modules": "all-linear"},
    {"target_modules": r".*\.(q|v)_proj"},
    {"target_modules": ["q_proj", "v_proj", "of_another_base"]},
    {"layers_to_transform": [1]},
    {"layers_to_transform": 2, "layers_pattern": "layers"},
    {"exclude_modules": ["model.layers.0.self_attn.q_proj"]},
    {"exclude_modules": r".*layers\.1\..*"},
    {"target_modules": ["model.layers.0.mlp.up_proj", "v_proj"]},
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("extra", SERVED, ids=str)
def test_what_is_served_computes_what_peft_computes(extra: dict[str, Any], tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    torch.manual_seed(3)
    tuned = get_peft_model(_base(), LoraConfig(**{"r": 4, "lora_alpha": 12, "target_modules": MODULES} | extra))
    for name, matrix in tuned.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(matrix, std=0.2)
    tuned.save_pretrained(tmp_path)
    tokens = torch.arange(24).reshape(2, 12)
    base = _base()
    layout = _layout(base)
    adapted = loading.load("one", tmp_path, layout)
    before = base(tokens).logits
    for module, pair in adapted.matrices.items():
        base.get_submodule(module).weight.data += (pair.down @ pair.up).t()
    ours = base(tokens).logits
    theirs = PeftModel.from_pretrained(_base(), tmp_path)(tokens).logits
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert not torch.allclose(ours, before, atol=1e-2)


def _base() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, num_key_value_heads=2, **sizes)).eval()


def _layout(base: Any) -> dict[str, tuple[int, int]]:
    return {
        name: (module.in_features, module.out_features)
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }


def _saved(folder: Path, config: dict[str, Any]) -> tuple[Path, dict[str, tuple[int, int]]]:
    """An adapter of rank 8 on two modules, written by hand so that any configuration can stand beside it."""
    from safetensors.torch import save_file

    layout = {f"model.layers.0.self_attn.{module}": (16, 16) for module in MODULES}
    tensors = {
        f"base_model.model.{module}.lora_{side}.weight": torch.ones(shape)
        for module in layout
        for side, shape in {"A": (8, 16), "B": (16, 8)}.items()
    }
    save_file(tensors, folder / adapter.WEIGHTS_FILE)
    (folder / adapter.CONFIG_FILE).write_text(json.dumps(config))
    assert load_file(folder / adapter.WEIGHTS_FILE)
    return folder, layout
