"""`graduand train fit`: from rows to an adapter `NAME@DIGEST`, with progress, checkpoints and a record of the run.

Invariant: the same configuration, data, base and versions give the same bytes on the same machine, however often the
run was killed and started again. Never writes an adapter whose loss was not a number or whose weights did not move.
"""

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import GraduandError
from training import base_model, lora, mask, provenance
from training.batches import epoch_batches, padding_share, steps_per_epoch
from training.checkpoint import Checkpoint, CheckpointFile
from training.progress import Progress, figures
from training.rows import read_rows
from training.run_config import FitConfig
from training.stage import file_sha256
from training.steps import batch_loss, collate, rate_share

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "transformers", "peft", "safetensors")
# Where the data lies, how many threads compute and how often the run is saved do not name another run.
NOT_IN_FINGERPRINT = {"data", "out", "threads", "checkpoint_steps"}


class FitError(GraduandError, RuntimeError):
    """Training went wrong in a way that no configuration check could foresee."""


# Up to this length the plain attention is faster on a CPU in bfloat16 than torch's fused one: 0.75 s of CPU time a step
# of 4 rows of 60 tokens, against 0.95 s.
EAGER_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Fitted:
    """The adapter's folder and the record of its run."""

    path: Path
    run: dict[str, Any]


def fit(config: FitConfig, progress: Progress) -> Fitted:
    """Make the adapter that `config` describes, or find the one that an earlier run made."""
    rows = read_rows(config.data)
    base, revision = base_model.identity(config.base)
    data_sha256 = file_sha256(config.data)
    fingerprint = _fingerprint(config, data_sha256, revision)
    done = lora.finished(config, fingerprint)
    if done:
        progress.say(f"{done} was already made from the same data and configuration; remove it to make it again")
        return Fitted(done, json.loads((done / lora.RUN_FILE).read_bytes()))
    progress.say(f"loading {config.base}")
    model, tokenizer = base_model.load(config.base)
    examples = mask.tokenise(rows, tokenizer, config.max_tokens)
    mask.check_truncation(examples, config.max_tokens, config.truncated_limit)
    shown = mask.trained_text(examples.kept[0], tokenizer)
    progress.say(f"{len(examples.kept)} rows; what is learned of the first one: {shown!r}")
    run = Run(config, lora.attach(model, config), examples.kept, tokenizer.pad_token_id)
    checkpoints = CheckpointFile(config.out, config.name, fingerprint)
    run.train(checkpoints, progress)
    record = {
        "fingerprint": fingerprint,
        "config": config.model_dump(mode="json"),
        "data": {"sha256": data_sha256, "rows": len(rows), "cut": examples.cut, "left_out": list(examples.left_out)}
        | {"road": provenance.road(config.data)},
        "base": {"name": base, "revision": revision},
        "versions": {name: version(name) for name in PACKAGES},
        **run.summary(),
    }
    path = lora.write(run.model, config, base, revision, record)
    checkpoints.remove()
    return Fitted(path, json.loads((path / lora.RUN_FILE).read_bytes()))


def _fingerprint(config: FitConfig, data_sha256: str, revision: str) -> str:
    """What this run is a function of, as 16 hex digits."""
    settings = config.model_dump(mode="json", exclude=NOT_IN_FINGERPRINT)
    versions = {name: version(name) for name in PACKAGES}
    whole = json.dumps([settings, data_sha256, revision, versions], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


class Run:
    """The training loop's state: model, optimizer, and where it has got to."""

    def __init__(self, config: FitConfig, model: Any, examples: tuple[mask.Example, ...], pad: int) -> None:
        import torch

        if config.threads:
            torch.set_num_threads(config.threads)
        self.model = model
        self._config = config
        self._examples = examples
        self._pad = pad
        self._lengths = [len(example.ids) for example in examples]
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._bfloat16 = config.precision == "bfloat16" or (config.precision == "auto" and _has_bfloat16(self._device))
        model.to(self._device)
        model.train()
        if self._bfloat16:
            lora.halve_frozen(model)
            if self._device.type == "cpu" and max(self._lengths) <= EAGER_TOKENS:
                model.get_base_model().set_attn_implementation("eager")
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._trained, lr=config.rate, weight_decay=config.weight_decay)
        self.total = max(1, round(config.epochs * steps_per_epoch(len(examples), config.batch)))
        self._at = Checkpoint(0, 0.0, {}, {}, None)

    def train(self, checkpoints: CheckpointFile, progress: Progress) -> None:
        """All steps that are still to do."""
        earlier = checkpoints.load()
        if earlier:
            self._resume(earlier)
            progress.say(f"going on after step {earlier.step} of {self.total}")
        started_s, first_s, tokens = time.monotonic(), self._at.seconds, 0
        for batch in self._batches(self._at.step):
            self._at.losses.append(self._step([self._examples[index] for index in batch]))
            self._at.step += 1
            tokens += sum(self._lengths[index] for index in batch)
            spent_s = time.monotonic() - started_s
            self._at.seconds = first_s + spent_s
            if self._at.step % self._config.checkpoint_steps == 0 and self._at.step < self.total:
                checkpoints.save(self._snapshot())
            left_s = (self._tokens_left(self._at.step)) * spent_s / tokens
            progress.step(self._at.step, self.total, figures(self._at.losses[-1], tokens / spent_s, left_s))
        self._check_moved()

    def _batches(self, first: int) -> Iterator[list[int]]:
        per_epoch = steps_per_epoch(len(self._examples), self._config.batch)
        for step in range(first, self.total):
            epoch, place = divmod(step, per_epoch)
            yield epoch_batches(self._lengths, self._config.batch, self._config.seed, epoch)[place]

    def _tokens_left(self, step: int) -> float:
        return (self.total - step) / steps_per_epoch(len(self._lengths), self._config.batch) * sum(self._lengths)

    def _step(self, examples: list[mask.Example]) -> float:
        import torch

        share = rate_share(self._at.step, self.total, self._config.warm_up)
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.rate * share
        with self._autocast():
            loss = batch_loss(self.model, collate(examples, self._pad, self._device))
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(torch.nn.utils.clip_grad_norm_(self._trained, self._config.gradient_limit))
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(norm)):
            where = f"step {self._at.step + 1} has loss {value} and gradient norm {norm}"
            raise FitError(f"{where}; lower the rate ({self._config.rate}) or alpha ({self._config.alpha})")
        self._optimizer.step()
        self._optimizer.zero_grad()
        return value

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        import torch

        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16)

    def _snapshot(self) -> Checkpoint:
        import torch

        self._at.adapter = lora.weights(self.model)
        self._at.optimizer = self._optimizer.state_dict()
        self._at.random_state = torch.get_rng_state()  # dropout draws from it
        return self._at

    def _resume(self, earlier: Checkpoint) -> None:
        import torch

        lora.restore(self.model, earlier.adapter)
        self._optimizer.load_state_dict(earlier.optimizer)
        torch.set_rng_state(earlier.random_state)
        self._at = earlier

    def _check_moved(self) -> None:
        """LoRA's B matrices start at zero: one that is still zero was never trained."""
        still = [name for name, tensor in lora.weights(self.model).items() if "lora_B" in name and not tensor.any()]
        if still:
            raise FitError(f"training left {len(still)} matrices untouched, such as {still[0]}; nothing was written")

    def summary(self) -> dict[str, Any]:
        """What the run's record says about the training itself."""
        import torch

        tokens = round(self.total / steps_per_epoch(len(self._lengths), self._config.batch) * sum(self._lengths))
        batches = epoch_batches(self._lengths, self._config.batch, self._config.seed, 0)
        return {
            "steps": self.total,
            "losses": [round(loss, 5) for loss in self._at.losses],
            "seconds": round(self._at.seconds, 1),
            "tokens": tokens,
            "tokens_per_s": round(tokens / max(self._at.seconds, 1e-9), 1),
            "padding_share": round(padding_share(self._lengths, batches), 4),
            "device": self._device.type,
            "precision": "bfloat16" if self._bfloat16 else "float32",
            "threads": torch.get_num_threads(),
        }


def _has_bfloat16(device: "torch.device") -> bool:
    """Whether bfloat16 is done in hardware: elsewhere it is slower than float32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
