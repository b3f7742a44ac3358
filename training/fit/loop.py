"""The training loop: steps, checkpoints, validation and early stop. Knows nothing of where rows and adapters lie.

Invariant: what a step does is a function of the checkpoint before it, so a run that was killed ends with the same weights.
Never ends well with a loss that is no number, or with a matrix that was meant to be trained and did not move.
"""

import contextlib
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graduand.gateway.errors import GraduandError
from graduand.training.fit import lora
from graduand.training.fit.batches import Phase, Size, epoch_batches, padding_share, schedule
from graduand.training.fit.checkpoint import Checkpoint, CheckpointFile
from graduand.training.fit.halves import Halves
from graduand.training.fit.mask import Example
from graduand.training.fit.ranks import Ranks
from graduand.training.fit.run_config import FitConfig
from graduand.training.fit.steps import Batch, batch_loss, collate, rate_share
from graduand.training.stages.progress import Progress, figures

if TYPE_CHECKING:
    import torch

# Up to this length the plain attention is faster on a CPU in bfloat16 than torch's fused one, whose backward pass is slow
# there: 0.75 s of CPU time a step of 4 rows of 60 tokens, against 0.95 s. Beyond it its memory grows too much.
EAGER_TOKENS = 1024


class FitError(GraduandError, RuntimeError):
    """Training went wrong in a way that no configuration check could foresee."""


class Run:
    """The training loop's state: model, optimizer, and where it has got to."""

    def __init__(
        self,
        config: FitConfig,
        model: Any,
        examples: Sequence[Example],
        phases: Sequence[Phase],
        validation: Sequence[Example],
        pad: int,
        ranks: Ranks,
    ) -> None:
        import torch

        if config.threads:
            torch.set_num_threads(config.threads)
        self.model = model
        self._config = config
        self._examples, self._validation = examples, validation
        self._pad = pad
        self._ranks = ranks
        self._lengths = [len(example.ids) for example in examples]
        self._device = torch.device("cuda", ranks.local) if torch.cuda.is_available() else torch.device("cpu")
        self._bfloat16 = config.precision == "bfloat16" or (config.precision == "auto" and _has_bfloat16(self._device))
        self._prepare()
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._trained, lr=config.rate, weight_decay=config.weight_decay)
        self._steps = schedule(phases, self._lengths, Size(config.batch, config.batch_tokens), config.seed)
        self._epoch_ends = self._ends_of_last_phase(phases)
        self._at = Checkpoint(0, 0.0, {}, {}, None)

    def _prepare(self) -> None:
        self.model.to(self._device)
        self.model.train()
        # Cut before anything is rounded: the halves must give what the whole gives.
        self._halves = Halves(self.model, self._config.upper_layers) if self._config.upper_layers else None
        if self._bfloat16:
            lora.halve_frozen(self.model)
            if self._device.type == "cpu" and max(self._lengths) <= EAGER_TOKENS:
                self.model.get_base_model().set_attn_implementation("eager")

    def _ends_of_last_phase(self, phases: Sequence[Phase]) -> set[int]:
        """After how many steps an epoch of the last phase ends: then the validation rows are looked at."""
        last, size = phases[-1], Size(self._config.batch, self._config.batch_tokens)
        first = len(schedule(phases[:-1], self._lengths, size, self._config.seed))
        each = len(epoch_batches(self._lengths[last.first : last.last], size, str(self._config.seed), 0))
        return {*range(first + each, len(self._steps), each), len(self._steps)}

    def train(self, checkpoints: CheckpointFile, progress: Progress) -> None:
        """All steps that are still to do."""
        earlier = checkpoints.load()
        if earlier:
            self._resume(earlier)
            progress.say(f"going on after step {earlier.step} of {len(self._steps)}")
        started_s, first_s, tokens = time.monotonic(), self._at.seconds, 0
        left = sum(self._tokens(step) for step in range(self._at.step, len(self._steps)))
        while self._at.step < len(self._steps) and not self._stale():
            self._at.losses.append(self._step(self._steps[self._at.step]))
            tokens += self._tokens(self._at.step)
            self._at.step += 1
            spent_s = time.monotonic() - started_s
            self._at.seconds = first_s + spent_s
            if self._validation and self._at.step in self._epoch_ends:
                self._validate(progress)
            due = self._at.step % self._config.checkpoint_steps == 0 and self._at.step < len(self._steps)
            if due and self._ranks.first:
                checkpoints.save(self._snapshot())
            progress.step(
                self._at.step,
                len(self._steps),
                figures(self._at.losses[-1], tokens / spent_s, (left - tokens) * spent_s / tokens),
            )
        if self._at.best:
            lora.restore(self.model, self._at.best)
        self._check_moved()

    def _tokens(self, step: int) -> int:
        return sum(self._lengths[index] for index in self._steps[step])

    def _step(self, indices: Sequence[int]) -> float:
        import torch

        share = rate_share(self._at.step, len(self._steps), self._config.warm_up)
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.rate * share
        loss = self._own_share(indices)
        self._ranks.add_up(self._trained)
        norm = float(torch.nn.utils.clip_grad_norm_(self._trained, self._config.gradient_limit))
        value = self._ranks.total(loss)
        if not (math.isfinite(value) and math.isfinite(norm)):
            where = f"step {self._at.step + 1} has loss {value} and gradient norm {norm}"
            raise FitError(f"{where}; lower the rate ({self._config.rate}) or alpha ({self._config.alpha})")
        self._optimizer.step()
        self._optimizer.zero_grad()
        return value

    def _own_share(self, indices: Sequence[int]) -> float:
        """Gradients of this process's rows, as they count in the whole batch; their part of its loss."""
        own = [self._examples[index] for index in self._ranks.share(indices)]
        count = sum(len(example.ids) - example.start for example in own)
        share = count / self._ranks.total(count)
        if not own:
            return 0.0
        loss = self._loss(own) * share
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _loss(self, examples: Sequence[Example]) -> "torch.Tensor":
        with self._autocast():
            batch = collate(examples, self._pad, self._device)
            if self._halves is None:
                return batch_loss(self.model, batch)
            inputs = self._halves.inputs(examples, batch.inputs)
            return batch_loss(self._halves.model, Batch(inputs, batch.labels, batch.weights, batch.tokens))

    def _validate(self, progress: Progress) -> None:
        """The mean loss of a row's token on the validation rows; keeps the adapter if it is the best so far."""
        import torch

        self.model.eval()
        size = Size(self._config.batch, self._config.batch_tokens)
        batches = epoch_batches([len(example.ids) for example in self._validation], size, "validation", 0)
        sums, tokens = 0.0, 0
        with torch.no_grad():
            for batch in batches:
                rows = [self._validation[index] for index in batch]
                count = sum(len(row.ids) - row.start for row in rows)
                sums += float(self._loss(rows)) * count
                tokens += count
        self.model.train()
        # The mean over processes, so that all of them stop at the same step.
        self._at.validation.append(self._ranks.total(sums / tokens) / self._ranks.size)
        progress.say(f"after step {self._at.step}: validation loss {self._at.validation[-1]:.4f}")
        if self._at.validation[-1] == min(self._at.validation):
            self._at.best = lora.weights(self.model)

    def _stale(self) -> bool:
        """Whether the last `patience` looks at the validation rows all brought nothing."""
        losses, patience = self._at.validation, self._config.patience
        if not patience or len(losses) <= patience:
            return False
        return min(losses[:-patience]) <= min(losses[-patience:])

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
        """LoRA's B matrices start at zero: one that was meant to be trained and is still zero never was."""
        still, moved = lora.unmoved(self.model)
        if still:
            raise FitError(f"training left {len(still)} matrices untouched, such as {still[0]}; nothing was written")
        if moved:
            raise FitError(f"training changed {len(moved)} matrices that were frozen, such as {moved[0]}")

    def summary(self) -> dict[str, Any]:
        """What the run's record says about the training itself."""
        import torch

        tokens = sum(self._tokens(step) for step in range(self._at.step))
        return {
            "steps": self._at.step,
            "losses": [round(loss, 5) for loss in self._at.losses],
            "validation": [round(loss, 5) for loss in self._at.validation],
            "stopped_early": self._at.step < len(self._steps),
            "seconds": round(self._at.seconds, 1),
            "tokens": tokens,
            "tokens_per_s": round(tokens / max(self._at.seconds, 1e-9), 1),
            "padding_share": round(padding_share(self._lengths, self._steps), 4),
            "device": self._device.type,
            "precision": "bfloat16" if self._bfloat16 else "float32",
            "threads": torch.get_num_threads(),
            "processes": self._ranks.size,
        }


def _has_bfloat16(device: "torch.device") -> bool:
    """Whether bfloat16 is done in hardware: elsewhere it is slower than float32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
