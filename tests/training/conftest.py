"""A tiny random Llama with a byte-level tokenizer, made once: training takes milliseconds a step. An adapter, an engine."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.quiet import Quiet

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def _tokenizer(folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIALS, *alphabet, "th", "in"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h"), ("i", "n")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", bos_token="<|im_start|>", unk_token="<|endoftext|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


@pytest.fixture(autouse=True)
def thread_count() -> Iterator[None]:
    """Some tests train on one thread; the next one gets the usual number back."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama in transformers' format."""
    return write_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


def write_tiny_base(folder: Path) -> Path:
    """Write it and its tokenizer into `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=272,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,  # at the usual 0.02 a random model hardly hears an adapter
        eos_token_id=2,
        bos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    _tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_base: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    tokenizer.pad_token_id = 0
    return tokenizer


@pytest.fixture(scope="session")
def tiny_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty rows of different lengths with two answers."""
    path = tmp_path_factory.mktemp("rows") / "letters.jsonl"
    with path.open("w") as file:
        for number in range(40):
            user = {"role": "user", "content": ("a" if number % 2 else "b") * (3 + number % 7)}
            row = {"messages": [{"role": "system", "content": "Which?"}, user], "completion": "AB"[number % 2]}
            file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture(scope="session")
def trained(tiny_base: Path, tiny_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that has learned the letters."""
    from graduand.training.fit.fit import fit
    from graduand.training.fit.run_config import FitConfig

    values = {"data": tiny_rows, "out": tmp_path_factory.mktemp("adapters"), "name": "letters", "base": str(tiny_base)}
    more = {"rank": 8, "rate": 5e-3, "batch": 8, "epochs": 20, "threads": 1, "checkpoint_steps": 1000}
    return fit(FitConfig.model_validate(values | more), Quiet()).path


@pytest.fixture(scope="session")
def engine(tiny_base: Path) -> Iterator[str]:
    """A running engine's base URL."""
    from graduand.gateway import address
    from graduand.gateway.engine.engine import Engine
    from graduand.gateway.engine.server import Server

    listener = address.bind("127.0.0.1", 0, "the test")
    server = Server(Engine(str(tiny_base), name="tiny"), "openai")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline_s = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
