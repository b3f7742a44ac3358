import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from graduand.gateway.engine import adapters as loading
from graduand.gateway.engine.engine import Engine
from graduand.gateway.errors import AdapterError

Tensors = dict[str, torch.Tensor]
LAST = "base_model.model.model.layers.29.self_attn.q_proj"


def renamed(tensors: Tensors, old: str, new: str) -> Tensors:
    return {key.replace(old, new): tensor for key, tensor in tensors.items()}


def without(tensors: Tensors, part: str) -> Tensors:
    return {key: tensor for key, tensor in tensors.items() if part not in key}


def other_width(tensors: Tensors) -> Tensors:
    return {key: (t.repeat(1, 2) if "lora_A" in key else t).contiguous() for key, t in tensors.items()}


def with_nan(tensors: Tensors) -> Tensors:
    return tensors | {f"{LAST}.lora_B.weight": torch.full((576, 16), float("nan"))}


SPOILT: list[tuple[Callable[[Tensors], Tensors], dict[str, Any], str]] = [
    (
        lambda t: renamed(t, "self_attn", "attention"),
        {},
        "0 of the 60 modules in its file are linear layers of the base",
    ),
    (lambda t: renamed(t, "layers.29", "layers.31"), {}, "58 of the 60 modules.*the base has 30 layers"),
    (other_width, {}, r"lora_A is \(16, 1152\) in its file"),
    (lambda t: without(t, "layers.29.self_attn.q_proj"), {}, "1 of them are missing in its file.*layers.29"),
    (lambda t: without(t, f"{LAST}.lora_B"), {}, "has no matrix B"),
    (lambda t: without(t, "v_proj"), {}, r"30 of them are missing in its file \(v_proj\)"),
    (
        lambda t: t | {"base_model.model.model.embed_tokens.weight": torch.ones(2, 2)},
        {},
        "is the embeddings themselves",
    ),
    (lambda t: t | {f"{LAST}.lora_magnitude_vector": torch.ones(2)}, {}, "belongs to DoRA"),
    (lambda t: t | {"what": torch.ones(2)}, {}, "'what' is not named as PEFT names"),
    (lambda t: t | {f"{LAST}.lora_A.default.weight": torch.ones(2)}, {}, "under two names"),
    (lambda t: t | {f"{LAST}.lora_A.weight": torch.ones(0)}, {}, "is empty in its file"),
    (lambda t: {}, {}, "holds no LoRA matrix"),
    (with_nan, {}, "not finite"),
    (lambda t: t, {"r": 8}, "where rank 8 of its configuration"),
    (lambda t: t, {"rank_pattern": {"v_proj": 4}}, "where rank 4 of its configuration"),
    (lambda t: t, {"use_dora": True}, "use_dora"),
    (lambda t: t, {"peft_type": "IA3"}, "LoRA adapter"),
    (lambda t: t, {"target_modules": ["q_proj", "v_proj", "lm_head"]}, "targets lm_head; .*merge it into the base"),
]


@pytest.mark.parametrize(("spoil", "config", "reason"), SPOILT)
def test_refuses_what_does_not_fit(
    engine: Engine,
    adapters: dict[str, Path],
    tmp_path: Path,
    spoil: Callable[[Tensors], Tensors],
    config: dict[str, Any],
    reason: str,
) -> None:
    folder = shutil.copytree(adapters["blue"], tmp_path / "adapter")
    save_file(spoil(load_file(folder / "adapter_model.safetensors")), folder / "adapter_model.safetensors")
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | config))
    with pytest.raises(AdapterError, match=reason):
        loading.load("spoilt", folder, engine._model.layout)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "../x", "a@xyz"])
def test_refuses_unsafe_names(engine: Engine, adapters: dict[str, Path], name: str) -> None:
    with pytest.raises(AdapterError, match=re.escape(repr(name))):
        loading.load(name, adapters["blue"], engine._model.layout)


def test_the_table_never_replaces_unasked(engine: Engine, adapters: dict[str, Path]) -> None:
    table = loading.AdapterTable(engine._model.layout, engine._tokenizer)
    first = table.load("one", adapters["blue"])
    assert first is not None
    assert table.load("one", adapters["blue"]) is None
    assert table.get("one") is first
    assert table.load("one", adapters["blue"], replace=True) is not first
    assert table.unload("one")
    assert not table.unload("one")
    assert table.all() == []
