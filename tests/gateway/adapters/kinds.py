"""Kinds of adapters as people have them, made by PEFT itself on a tiny base, and what each server makes of them.

`python -m tests.gateway.adapters.kinds > docs/adapters.md` writes the page. The column of the embedded engine is measured:
its log-probabilities against PEFT's. Those of vLLM and LoRAX are what `adapters add` says before it asks them.
"""

import json
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from graduand.gateway.adapters import adapter, base_model, fitting, servers
from graduand.gateway.adapters.convert import convert
from graduand.gateway.adapters.servers import Server
from graduand.gateway.engine import adapters as loading
from graduand.gateway.engine.model import RaggedModel, Span
from graduand.gateway.errors import AdapterError

EQUAL = 1e-3
SAME = "equal to PEFT"
COMPUTED = "it cannot be served as PEFT computes it: "
PROMPTS = ([5, 9, 40, 77, 12, 30], [100, 3, 8], [200, 201, 40, 6, 7, 9, 10, 60, 61])
After = Callable[[Path], None]


def _config(**changed: Any) -> After:
    def change(folder: Path) -> None:
        file = folder / adapter.CONFIG_FILE
        file.write_text(json.dumps(json.loads(file.read_text()) | changed))

    return change


def _tensors(change: Callable[[dict[str, Any]], dict[str, Any]]) -> After:
    def apply(folder: Path) -> None:
        save_file(
            change(load_file(folder / adapter.WEIGHTS_FILE)), folder / adapter.WEIGHTS_FILE, metadata={"format": "pt"}
        )

    return apply


def _header(content: bytes) -> After:
    def write(folder: Path) -> None:
        (folder / adapter.WEIGHTS_FILE).write_bytes(struct.pack("<Q", len(content)) + content + b"0000")

    return write


def _pickled(folder: Path) -> None:
    weights = folder / adapter.WEIGHTS_FILE
    torch.save(load_file(weights), folder / adapter.PICKLED_FILE)
    weights.unlink()


def _parts(folder: Path) -> None:
    weights = folder / adapter.WEIGHTS_FILE
    tensors = load_file(weights)
    for number in (0, 1):
        part = {
            name: each for place, name in enumerate(sorted(tensors)) if place % 2 == number for each in [tensors[name]]
        }
        save_file(part, folder / f"adapter_model-0000{number + 1}-of-00002.safetensors")
    weights.unlink()


def _mlx(folder: Path) -> None:
    config = json.loads((folder / adapter.CONFIG_FILE).read_text())
    tensors = {
        name.removeprefix("base_model.model.").replace("lora_A.weight", "lora_a").replace("lora_B.weight", "lora_b"): (
            each.t().contiguous()
        )
        for name, each in load_file(folder / adapter.WEIGHTS_FILE).items()
    }
    save_file(tensors, folder / adapter.MLX_FILE)
    (folder / adapter.WEIGHTS_FILE).unlink()
    settings = {"rank": config["r"], "scale": config["lora_alpha"] / config["r"], "dropout": 0.0}
    (folder / adapter.CONFIG_FILE).write_text(
        json.dumps({"fine_tune_type": "lora", "model": None, "num_layers": 2, "lora_parameters": settings})
    )


def _pointer(folder: Path) -> None:
    (folder / adapter.WEIGHTS_FILE).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 123456\n"
    )


def _checkpoint(folder: Path) -> None:
    below = folder / "checkpoint-200"
    below.mkdir()
    for name in (adapter.CONFIG_FILE, adapter.WEIGHTS_FILE):
        (folder / name).rename(below / name)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: PEFT's settings, and what is done to the folder afterwards. `good`: PEFT can load it as it is."""

    settings: dict[str, Any]
    after: After | None = None
    good: bool = True


HALF = r".*self_attn.*(q_proj|v_proj)$"
KINDS: dict[str, Kind] = {
    "plain": Kind({}),
    "rank-stabilised": Kind({"r": 16, "use_rslora": True}),
    "bfloat16": Kind({}, _tensors(lambda found: {name: each.bfloat16() for name, each in found.items()})),
    "float64": Kind({}, _tensors(lambda found: {name: each.double() for name, each in found.items()})),
    "all linear layers": Kind({"target_modules": "all-linear"}),
    "a regular expression": Kind({"target_modules": HALF}),
    "excluded modules": Kind({"exclude_modules": ["model.layers.0.self_attn.q_proj"]}),
    "some layers": Kind({"layers_to_transform": [1]}),
    "rank 4": Kind({"r": 4}),
    "rank 24": Kind({"r": 24}),
    "ranks by a pattern": Kind({"rank_pattern": {"v_proj": 4}}),
    "scales by a pattern": Kind({"alpha_pattern": {"v_proj": 64}}),
    "a pattern that changes nothing": Kind({"rank_pattern": {"v_proj": 8}}),
    "PiSSA": Kind({"init_lora_weights": "pissa"}),
    "OLoRA": Kind({"init_lora_weights": "olora"}),
    "PiSSA by an approximation": Kind({"init_lora_weights": "pissa_niter_4"}),
    "orthogonal start": Kind({"init_lora_weights": "orthogonal"}),
    "MiCA": Kind({"init_lora_weights": "mica"}),
    "repeated layers": Kind({"layer_replication": [[0, 2], [1, 2]]}),
    "DoRA": Kind({"use_dora": True}),
    "biases of the product": Kind({"lora_bias": True}),
    "trained biases": Kind({"bias": "all"}),
    "the head": Kind({"target_modules": ["q_proj", "lm_head"]}),
    "the embeddings": Kind({"target_modules": ["q_proj", "embed_tokens"]}),
    "saved modules": Kind({"modules_to_save": ["lm_head"]}),
    "trained tokens": Kind({"trainable_token_indices": [3, 4]}),
    "a setting of tomorrow": Kind({}, _config(tomorrow={"scale": 2}), good=False),
    "a module that lacks": Kind(
        {"target_modules": HALF},
        _tensors(lambda found: {name: each for name, each in found.items() if "v_proj" not in name}),
        good=False,
    ),
    "no targets": Kind({}, _config(target_modules=None), good=False),
    "an infinite scale": Kind({}, _config(lora_alpha=float("inf")), good=False),
    "empty matrices": Kind({}, _tensors(lambda found: {name: torch.empty(0) for name in found}), good=False),
    "a header without shapes": Kind({}, _header(b'{"x":{"dtype":"F32","data_offsets":[0,4]}}'), good=False),
    "a header that is a list": Kind({}, _header(b"[1,2]"), good=False),
    "an unknown type": Kind({}, _header(b'{"x":{"dtype":"Q9","shape":[1],"data_offsets":[0,4]}}'), good=False),
    "Git LFS's pointer": Kind({}, _pointer, good=False),
    "adapter_model.bin": Kind({}, _pickled),
    "parts": Kind({}, _parts, good=False),
    "MLX": Kind({}, _mlx, good=False),
    "a checkpoint's folder above": Kind({}, _checkpoint, good=False),
}


def make(kind: Kind, base: Path, folder: Path) -> torch.Tensor:
    """Have PEFT save it, change it as the kind says, and answer PEFT's own log-probabilities with what can be loaded."""
    from peft import LoraConfig, PeftModel, get_peft_model

    torch.manual_seed(3)
    settings = {
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["q_proj", "v_proj"],
        "task_type": "CAUSAL_LM",
    } | kind.settings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned = get_peft_model(base_model.load(str(base))[0], LoraConfig(**settings))
        for name, each in tuned.named_parameters():
            if "lora_" in name or "modules_to_save" in name or "trainable_tokens_delta" in name:
                each.data.add_(torch.randn_like(each) * 0.1)
        tuned.save_pretrained(folder)
        if kind.good and kind.after is not None:
            kind.after(folder)
        loaded = PeftModel.from_pretrained(base_model.load(str(base))[0], folder).eval()
    with torch.inference_mode():
        said = torch.stack(
            [
                loaded(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1].log_softmax(-1)
                for prompt in PROMPTS
            ]
        )
    if not kind.good and kind.after is not None:
        kind.after(folder)
    return said


def embedded(folder: Path, model: RaggedModel, known: torch.Tensor) -> str:
    """What the embedded engine makes of it: SAME, how far it is from PEFT, or the refusal."""
    try:
        loaded = loading.load("kind", folder, model.layout)
    except AdapterError as error:
        return _said(error, folder)
    spans = [Span(prompt, model.new_cache(len(prompt)), loaded) for prompt in PROMPTS]
    apart = float((torch.stack(model.forward(spans)).log_softmax(-1) - known).abs().max())
    return SAME if apart <= EQUAL else f"DIFFERENT by {apart:.2g}"


def judged(folder: Path, server: Server, layout: fitting.Layout) -> str:
    """What `train admit` and `adapters add` say for another kind of server, before they ask it."""
    try:
        files = adapter.read(folder)
        if problems := servers.problems(files, server):
            return "; ".join(problems)
        fitting.pairs(files, layout)
        return "taken"
    except AdapterError as error:
        return _said(error, folder)


def converted(folder: Path, base: Path, model: RaggedModel, known: torch.Tensor) -> str:
    """What `adapters convert` makes of it, and the embedded engine of that."""
    out = folder.with_name(f"{folder.name}-plain")
    try:
        convert(folder, out, str(base))
    except AdapterError as error:
        return _said(error, folder)
    assert {judged(out, each, model.layout) for each in Server} == {"taken"}
    return embedded(out, model, known)


def _said(error: AdapterError, folder: Path) -> str:
    return str(error).replace(str(folder), "DIR").removeprefix("adapter DIR: ").removeprefix(COMPUTED)


PAGE = """# Adapters

What becomes of an adapter, by its kind. PEFT made each of them on a tiny base, or what a tool leaves was made of one;
`python -m tests.gateway.adapters.kinds > docs/adapters.md` makes this page. *Embedded* is measured: log-probabilities
within 1e-3 of transformers with PEFT on a fresh base, or the words of the refusal. *vLLM* and *LoRAX* are what
`graduand train admit` and `adapters add` say before anything is loaded there: no measurement of those servers. What is
taken is then proved by `train admit --engine URL`, against PEFT. A rank that is too large for `--max-lora-rank` is vLLM's
own to refuse.

One table of PEFT's settings (`gateway/adapters/lora_config.py`) says of each key whether it is harmless, computed or
refused; a key that it does not know is refused unless it is empty. An adapter is whole if it has both matrices of every
module that its configuration targets in the base, found as PEFT finds them.

## Convert

`graduand adapters convert SOURCE --out DIR [--base BASE]` writes plain LoRA. It reads `adapter_model.bin` without running
what is pickled in it, joins parts, renames MLX's matrices, folds patterns of ranks and scales into the matrices, and
writes the start of PiSSA and OLoRA out as matrices (the rank doubles), as PEFT does with
`path_initial_model_for_weight_conversion`. PEFT must say the same with the result as with the source, within 1e-3, before
anything is written; for MLX's layout, as with the matrices renamed.

## Trained elsewhere

Where there is no `run.json`, somebody has to vouch for it:
`graduand adapters add NAME=DIR --rows ROWS.jsonl --upstream gpu --vouched-by WHO`, or first `graduand train admit --adapter
DIR --data ROWS.jsonl --vouched-by WHO`. The numbers must be right as for any other: whole, applied, itself, and the
engine's base the same before and after. The record says that the training is unknown, who vouched, and the rows' digest.
How it does on the rows is a figure in it and no bar: the rollout decides whether it is good.

## Kinds

| kind | embedded | vLLM | LoRAX | converted |
|---|---|---|---|---|
"""


def page(base: Path, work: Path) -> str:
    """The page, with a row for each kind."""
    model, lines = RaggedModel(str(base)), []
    for number, (name, kind) in enumerate(KINDS.items()):
        folder = work / str(number)
        known = make(kind, base, folder)
        cells = [
            embedded(folder, model, known),
            *(judged(folder, each, model.layout) for each in (Server.VLLM, Server.LORAX)),
        ]
        cells.append(converted(folder, base, model, known))
        same = [
            "as embedded" if place and cell == cells[0] and cell != SAME else cell for place, cell in enumerate(cells)
        ]
        lines.append(f"| {name} | {' | '.join(cell.replace('|', chr(92) + '|') for cell in same)} |")
    return PAGE + "\n".join(lines) + "\n"


if __name__ == "__main__":
    from tests.training.conftest import write_tiny_base

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(page(write_tiny_base(Path(folder, "tiny")), Path(folder)))
