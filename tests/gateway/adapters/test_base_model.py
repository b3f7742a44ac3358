import json
from pathlib import Path

import pytest

from graduand.gateway.adapters import base_model
from graduand.gateway.errors import ConfigError


def test_the_packaged_model_answers() -> None:
    network, tokenizer = base_model.load("smollm2-135m")
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = network.generate(**prompt, max_new_tokens=12, do_sample=False)
    answer = tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert answer == "The capital of France is Paris."
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
    )


def test_the_cache_can_be_loaded_by_others() -> None:
    folder = base_model.resolve("smollm2-135m")
    assert isinstance(folder, Path)
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (folder / name).is_file()
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert "quantization_config" not in config
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_digits_stand_alone() -> None:
    _, tokenizer = base_model.load("smollm2-135m")
    assert tokenizer.convert_ids_to_tokens(tokenizer("a  12")["input_ids"]) == ["a", "ĠĠ", "1", "2"]


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ("./nowhere", "no model './nowhere'"),
        ("smollm2-135", "Did you mean"),
        (__file__, "is a file"),
        (str(Path(__file__).parent), "config.json is missing"),
    ],
)
def test_what_is_no_model(model: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        base_model.resolve(model)


def test_a_hub_id_is_left_to_the_hub() -> None:
    assert base_model.resolve("organisation/model-1.0") == "organisation/model-1.0"
