"""An adapter that nobody has trained: small random matrices, so that its answers differ from its base's and nothing else."""

import json
from pathlib import Path

import numpy as np

from graduand.gateway.adapters import adapter, admission

# SmolLM2-135M's query projections.
LAYERS, WIDTH, RANK = 30, 576, 8
SCALE = 0.05


def untrained(folder: Path, base: str, seed: int) -> str:
    """Write the adapter with an admission record, which is made up as well; its name without the digest is the folder's."""
    from safetensors.numpy import save_file  # not there where no engine is

    folder.mkdir(parents=True)
    source = np.random.default_rng(seed)
    shapes = {"A": (RANK, WIDTH), "B": (WIDTH, RANK)}
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{side}.weight": SCALE
        * source.standard_normal(shape, dtype=np.float32)
        for layer in range(LAYERS)
        for side, shape in shapes.items()
    }
    save_file(tensors, folder / adapter.WEIGHTS_FILE)
    config = {
        "peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": ["q_proj"], "bias": "none",
        "base_model_name_or_path": base,
    }  # fmt: skip
    (folder / adapter.CONFIG_FILE).write_text(json.dumps(config))
    files = adapter.read(folder)
    admission.write(folder, {"digest": files.digest, "checks": [{"name": "none: it is untrained", "passed": True}]})
    return files.name(folder.name)
