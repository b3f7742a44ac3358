"""The LoRA adapter: put on the base, and written as a folder that vLLM, LoRAX and the embedded engine accept.

Invariant: every linear layer of every block carries the adapter, or nothing is trained; the same weights give the same
bytes; a folder `NAME@DIGEST` appears complete or not at all. Source: PEFT's adapter format.
"""

import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

from graduand.gateway.adapters import adapter, servers
from graduand.gateway.adapters.admission import RUN_FILE
from graduand.gateway.adapters.servers import Server
from graduand.gateway.errors import AdapterError
from graduand.training.fit.run_config import FitConfig


def attach(base: Any, config: FitConfig) -> Any:
    """A PEFT model with a fresh adapter on all linear layers; its start is a function of the seed."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(config.seed)
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(adapter.TARGET_MODULES),
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by an old name
            model = get_peft_model(base, settings)
    except ValueError as error:  # PEFT's error when no module matches
        raise AdapterError(f"the base {config.base} takes no adapter: {error}") from error
    _check_coverage(model, config.base)
    return model


def halve_frozen(model: Any) -> None:
    """Keep the base's linear layers in bfloat16. Autocast would cast them anew at every step, to the same values.

    Norms and embeddings stay in float32: in bfloat16 they made a step on a CPU take almost twice as long.
    """
    import torch

    head = model.get_output_embeddings()  # often shared with the input embeddings, which stay as they are
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not head and not module.weight.requires_grad:
            module.weight.data = module.weight.data.bfloat16()


def _check_coverage(model: Any, base: str) -> None:
    """PEFT is content when one module matches; LoRAX drops a module type of which one layer is missing."""
    layers = model.config.num_hidden_layers
    found = [name.split(".")[-1] for name, module in model.named_modules() if hasattr(module, "lora_A")]
    missing = {name: found.count(name) for name in adapter.TARGET_MODULES if found.count(name) != layers}
    if missing:
        counts = ", ".join(f"{name} in {count}" for name, count in missing.items())
        raise AdapterError(f"the base {base} has {layers} layers, but it fits {counts}; use a Llama-like base")


def weights(model: Any) -> dict[str, Any]:
    """The adapter's tensors under PEFT's names, on the CPU."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}


def unmoved(model: Any) -> tuple[list[str], list[str]]:
    """B matrices that were to be trained and are still zero, and frozen ones that are not."""
    named = [(name, each) for name, each in model.named_parameters() if "lora_B" in name]
    still = [name for name, each in named if each.requires_grad and not each.any()]
    return still, [name for name, each in named if not each.requires_grad and each.any()]


def restore(model: Any, tensors: dict[str, Any]) -> None:
    """Put `weights` of an earlier moment back."""
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(model, tensors)


def write(model: Any, config: FitConfig, base: str, revision: str, run: dict[str, Any]) -> Path:
    """Write config, weights and `run.json` as OUT/NAME@DIGEST and return that folder."""
    config.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{config.name}-", dir=config.out))
    try:
        _write_files(model, work, base, revision)
        made = adapter.read(work)
        if problems := servers.problems(made, Server.LORAX):  # the narrowest
            raise AdapterError(f"the trained adapter cannot be served: {'; '.join(problems)}")
        target = config.out / made.name(config.name)
        run = {"adapter": target.name, "digest": made.digest, **run}
        (work / RUN_FILE).write_text(json.dumps(run, indent=2, sort_keys=True) + "\n")
        _place(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _write_files(model: Any, folder: Path, base: str, revision: str) -> None:
    from safetensors.torch import save_file

    settings = model.peft_config["default"].to_dict()
    # PEFT keeps the names in a set, whose order differs from process to process: sorted, the bytes are the same.
    settings["target_modules"] = sorted(settings["target_modules"])
    settings |= {"base_model_name_or_path": base, "revision": revision, "inference_mode": True}
    text = json.dumps(settings, indent=2, sort_keys=True, default=str)
    (folder / adapter.CONFIG_FILE).write_text(text + "\n")
    save_file(weights(model), folder / adapter.WEIGHTS_FILE, metadata={"format": "pt"})


def _place(work: Path, target: Path) -> None:
    work.chmod(0o755)  # mkdtemp's folders are the owner's alone; servers often run as another user
    for file in work.iterdir():
        with file.open("rb") as written:
            os.fsync(written.fileno())
    if target.is_dir() and adapter.digest(target) == target.name.rpartition("@")[2]:
        shutil.copyfile(work / RUN_FILE, target / RUN_FILE)  # the same weights by another road
        return
    try:
        work.rename(target)
    except OSError as error:
        raise AdapterError(f"cannot place the adapter at {target}: {error}; remove what is there") from error


def finished(config: FitConfig, fingerprint: str) -> Path | None:
    """The adapter that an earlier run with the same fingerprint made, if it is there and whole."""
    for file in sorted(config.out.glob(f"{config.name}@*/{RUN_FILE}")):
        try:
            same = json.loads(file.read_bytes()).get("fingerprint") == fingerprint
            if same and adapter.digest(file.parent) == file.parent.name.rpartition("@")[2]:
                return file.parent
        except (OSError, ValueError, AttributeError):
            continue
    return None
