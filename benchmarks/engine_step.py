"""How long one decode step of the embedded engine takes, beside the alternatives it was chosen over.

    python benchmarks/engine_step.py --threads 1

Eight sequences of 100 tokens over three adapters and the base: transformers with PEFT's mixed batches on a padded
cache, one forward an adapter with the same, and the engine. Times are the best and the median of several steps.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from graduand.gateway.adapters import base_model
from graduand.gateway.engine import adapters as loading
from graduand.gateway.engine.model import RaggedModel, Span, order

MODEL, LENGTH = "smollm2-135m", 100
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MIX = ["a", "b", "c", "a", "b", "c", "__base__", "__base__"]


def timed(step: Callable[[], object], repeats: int = 8) -> str:
    step()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        step()
        times.append((time.perf_counter() - started) * 1e3)
    return f"best {min(times):5.0f} ms   median {statistics.median(times):5.0f} ms"


def tuned(folder: Path) -> Any:
    """The base with three adapters in PEFT, also saved below `folder`."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=16, lora_alpha=32, target_modules=LINEARS)
    network = get_peft_model(base_model.load(MODEL)[0], config, adapter_name="a")
    for name in "bc":
        network.add_adapter(name, config)
    for key, matrix in network.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(matrix, std=0.02)
    network.save_pretrained(folder, selected_adapters=["a", "b", "c"])
    return network.eval()


def peft_step(network: Any, names: list[str]) -> Callable[[], object]:
    from transformers import DynamicCache

    config = network.base_model.model.config
    cache = DynamicCache(config=config)
    shape = (len(names), config.num_key_value_heads, LENGTH, config.head_dim)
    for layer in range(config.num_hidden_layers):
        cache.update(torch.randn(shape), torch.randn(shape), layer)
    tokens = torch.full((len(names), 1), 7)

    @torch.inference_mode()
    def step() -> None:
        mask = torch.ones(len(names), cache.get_seq_length() + 1, dtype=torch.long)
        network(tokens, past_key_values=cache, attention_mask=mask, adapter_names=names)

    return step


def engine_step(model: RaggedModel, chosen: list[loading.LoadedAdapter | None]) -> Callable[[], object]:
    caches = [model.new_cache(LENGTH + 30) for _ in chosen]
    for cache in caches:
        cache.keys.normal_()
        cache.values.normal_()
        cache.length = LENGTH
    return lambda: model.forward(order([Span([7], c, a) for c, a in zip(caches, chosen, strict=True)]))


def read_prompt(model: RaggedModel, adapter: loading.LoadedAdapter, length: int) -> None:
    model.forward([Span([5] * length, model.new_cache(length), adapter)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = tuned(folder)
        print("PEFT, mixed batch of 8      ", timed(peft_step(network, MIX)))
        groups = [peft_step(network, [one for one in MIX if one == kind]) for kind in sorted(set(MIX))]
        print("PEFT, one forward an adapter", timed(lambda: [step() for step in groups]))
        model = RaggedModel(MODEL)
        loaded = {one: loading.load(one, folder / one, model.layout) for one in "abc"}
        print("engine, mixed batch of 8    ", timed(engine_step(model, [loaded.get(one) for one in MIX])))
        print("engine, base only, 8        ", timed(engine_step(model, [None] * 8)))
        print("engine, one adapter, 1      ", timed(engine_step(model, [loaded["a"]])))
        for length in (16, 64, 256):
            read = partial(read_prompt, model, loaded["a"], length)
            print(f"engine, prompt of {length:3d} tokens ", timed(read, 4))


if __name__ == "__main__":
    main()
