"""Tokens a second of `train fit` against a plain transformers Trainer loop, on the same rows: python -m benchmarks.fit_speed

Twenty steps of each on one thread; rows as long as the article's comments. Tokens are real ones, padding not counted; CPU
seconds are those of this process, so that a busy machine does not show.
"""

import argparse
import json
import os
import random
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graduand.gateway.adapters import base_model
from graduand.training.data.rows import Row
from graduand.training.fit import lora, mask
from graduand.training.fit.batches import Phase
from graduand.training.fit.checkpoint import CheckpointFile
from graduand.training.fit.loop import Run
from graduand.training.fit.ranks import Ranks
from graduand.training.fit.run_config import FitConfig

STEPS = 20
BATCH_TOKENS = 1600
TEXT = "the article page is not a source of what you said about that edit and why it was taken out again here"
CASES = ("trainer-float32", "trainer-bfloat16", "fit", "fit-upper-half")


def rows(count: int) -> list[Row]:
    """Comments of log-normal length, about 60 words in the mean, with a label each."""
    source, words = random.Random(0), TEXT.split()
    texts = [
        " ".join(source.choices(words, k=min(300, int(source.lognormvariate(3.8, 0.8)) + 3))) for _ in range(count)
    ]
    return [
        Row(str(place), f'{{"is_bad": {int(source.random() < 0.2)}}}', ({"role": "user", "content": text},))
        for place, text in enumerate(texts)
    ]


class Watch:
    """Wall and CPU clock after each step."""

    def __init__(self) -> None:
        self.clocks: list[tuple[float, float]] = []

    def say(self, text: str) -> None: ...

    def step(self, done: int, total: int, text: str) -> None:
        self.clocks.append((time.perf_counter(), time.process_time()))

    def close(self) -> None: ...


def ours(examples: Sequence[mask.Example], model: Any, pad: int, upper: int) -> dict[str, float]:
    """Two epochs: in the second the lower half comes from memory, as in all later ones of a real run."""
    with tempfile.TemporaryDirectory() as out:
        settings = {"data": "-", "out": out, "name": "speed", "threads": 1, "batch_tokens": BATCH_TOKENS, "epochs": 2}
        config = FitConfig.model_validate({**settings, "upper_layers": upper, "checkpoint_steps": 10_000})
        run = Run(config, lora.attach(model, config), examples, [Phase(0, len(examples), 2)], (), pad, Ranks())
        watch, began = Watch(), (time.perf_counter(), time.process_time())
        run.train(CheckpointFile(Path(out), "speed", "none"), watch)
    half, tokens = len(watch.clocks) // 2, sum(len(example.ids) for example in examples)
    middle, end = watch.clocks[half - 1], watch.clocks[-1]
    return {
        "steps": len(watch.clocks), "tokens": 2 * tokens,
        "tokens_per_s": 2 * tokens / (end[0] - began[0]), "tokens_per_cpu_s": 2 * tokens / (end[1] - began[1]),
        "second_epoch_tokens_per_cpu_s": tokens / (end[1] - middle[1]),
    }  # fmt: skip


def plain(examples: Sequence[mask.Example], model: Any, pad: int, bfloat16: bool) -> dict[str, float]:
    """transformers' Trainer with PEFT: padding on the right, random order, logits of all tokens."""
    import torch
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as out, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = FitConfig.model_validate({"data": "-", "out": out, "name": "speed"})
        tuned = lora.attach(model, settings)
        chosen = examples[: 8 * STEPS]
        data = [
            {"input_ids": list(e.ids), "labels": list(e.labels), "attention_mask": [1] * len(e.ids)} for e in chosen
        ]
        arguments = TrainingArguments(
            out, max_steps=len(data) // 8, per_device_train_batch_size=8, use_cpu=True, bf16=bfloat16, report_to=[],
            save_strategy="no", logging_strategy="no", disable_tqdm=True, learning_rate=5e-4, seed=0,
        )  # fmt: skip
        tokenizer = base_model.load("smollm2-135m")[1]
        tokenizer.pad_token_id = pad
        trainer = Trainer(tuned, arguments, train_dataset=data, data_collator=DataCollatorForSeq2Seq(tokenizer))
        torch.set_num_threads(1)
        began = (time.perf_counter(), time.process_time())
        trainer.train()
        wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    tokens = sum(len(each["input_ids"]) for each in data)
    return {"steps": len(data) // 8, "tokens": tokens, "tokens_per_s": tokens / wall, "tokens_per_cpu_s": tokens / cpu}


def main() -> None:
    """Measure the cases and print one JSON object a line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    arguments.add_argument("--rows", type=int, default=8 * STEPS)
    options = arguments.parse_args()
    import torch

    torch.set_num_threads(1)
    for case in options.cases:
        model, tokenizer = base_model.load("smollm2-135m")
        examples = mask.tokenise(rows(options.rows), tokenizer, 1024).kept
        load_before = os.getloadavg()[0]
        if case.startswith("trainer"):
            found = plain(examples, model, tokenizer.pad_token_id, case == "trainer-bfloat16")
        else:
            upper = model.config.num_hidden_layers // 2 if case == "fit-upper-half" else 0
            found = ours(examples, model, tokenizer.pad_token_id, upper)
        measured = {name: round(value, 1) for name, value in found.items()}
        print(json.dumps({"case": case, **measured, "load": round(load_before, 1)}), flush=True)


if __name__ == "__main__":
    main()
