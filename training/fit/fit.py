"""`graduand train fit`: from rows to an adapter `NAME@DIGEST`, with progress, checkpoints and a record of the run.

Invariant: the same configuration, data, base and versions give the same bytes on the same machine, however often the
run was killed and started again. Never writes an adapter whose loss was not a number or whose weights did not move.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from graduand.gateway.adapters import base_model
from graduand.gateway.adapters.admission import RUN_FILE
from graduand.training.data import reference
from graduand.training.data.rows import DataError, Row, read_rows
from graduand.training.fit import lora, mask, ranks, weights
from graduand.training.fit.batches import Phase
from graduand.training.fit.checkpoint import CheckpointFile
from graduand.training.fit.loop import FitError, Run
from graduand.training.fit.run_config import FitConfig
from graduand.training.stages import provenance
from graduand.training.stages.progress import Progress
from graduand.training.stages.stage import file_sha256

__all__ = ["FitError", "Fitted", "fit"]

PACKAGES = ("torch", "transformers", "peft", "safetensors")
# Where files lie, how many threads compute and how often the run is saved do not name another run.
NOT_IN_FINGERPRINT = {"data", "out", "threads", "checkpoint_steps", "validation", "curriculum"}


@dataclass(frozen=True, slots=True)
class Fitted:
    """The adapter's folder and the record of its run."""

    path: Path
    run: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run learns from: rows in the order of its phases, validation rows, and what fixes all of it."""

    rows: list[Row]
    counts: list[tuple[int, float]]  # rows and epochs of each file
    validation: list[Row]
    hashes: list[str | None]  # of each file, the validation rows' last
    base: str
    revision: str


def fit(config: FitConfig, progress: Progress) -> Fitted:
    """Make the adapter that `config` describes, or find the one that an earlier run made."""
    together = ranks.joined()
    inputs = _read(config)
    fingerprint = _fingerprint(config, inputs.hashes, inputs.revision)
    done = lora.finished(config, fingerprint)
    if done:
        progress.say(f"{done} was already made from the same data and configuration; remove it to make it again")
        return Fitted(done, json.loads((done / RUN_FILE).read_bytes()))
    progress.say(f"loading {config.base}")
    model, tokenizer = base_model.load(config.base)
    examples = _examples(config, inputs.rows, tokenizer, progress)
    held = mask.tokenise(inputs.validation, tokenizer, config.max_tokens).kept
    phases = _phases(inputs.counts, inputs.rows, examples)
    run = Run(config, lora.attach(model, config), examples.kept, phases, held, tokenizer.pad_token_id, together)
    checkpoints = CheckpointFile(config.out, config.name, fingerprint)
    run.train(checkpoints, progress)
    if not together.first:
        together.wait()
        return _of_the_first(config, fingerprint)
    record = {"fingerprint": fingerprint, **_record(config, inputs, examples), **run.summary()}
    path = lora.write(run.model, config, inputs.base, inputs.revision, record)
    progress.say(reference.write_beside(inputs.rows, path, config.seed))
    checkpoints.remove()
    together.wait()
    return Fitted(path, json.loads((path / RUN_FILE).read_bytes()))


def _of_the_first(config: FitConfig, fingerprint: str) -> Fitted:
    """What the first process wrote, for the others."""
    path = lora.finished(config, fingerprint)
    if path is None:
        raise FitError(f"the first process wrote no adapter that the others can see in {config.out}; share that folder")
    return Fitted(path, json.loads((path / RUN_FILE).read_bytes()))


def _read(config: FitConfig) -> Inputs:
    parts = [(read_rows(path), epochs) for path, epochs in config.phases]
    validation = read_rows(config.validation) if config.validation else []
    hashes: list[str | None] = [file_sha256(path) for path, _ in config.phases]
    hashes.append(file_sha256(config.validation) if config.validation else None)
    rows = _distinct([row for part, _ in parts for row in part])
    counts = [(len(part), epochs) for part, epochs in parts]
    return Inputs(rows, counts, _distinct(validation), hashes, *base_model.identity(config.base))


def _examples(config: FitConfig, rows: list[Row], tokenizer: Any, progress: Progress) -> mask.Examples:
    by_id = dict(zip((row.id for row in rows), weights.of_rows(rows, config.class_weight), strict=True))
    examples = mask.tokenise(rows, tokenizer, config.max_tokens, by_id)
    mask.check_truncation(examples, config.max_tokens, config.truncated_limit)
    shown = mask.trained_text(examples.kept[0], tokenizer)
    progress.say(f"{len(examples.kept)} rows; what is learned of the first one: {shown!r}")
    return examples


def _record(config: FitConfig, inputs: Inputs, examples: mask.Examples) -> dict[str, Any]:
    *curriculum, data, validation = inputs.hashes
    return {
        "config": config.model_dump(mode="json"),
        "data": {
            "sha256": data,
            "rows": len(inputs.rows),
            "cut": examples.cut,
            "left_out": list(examples.left_out),
            "curriculum_sha256": curriculum,
            "validation_sha256": validation,
            "road": provenance.road(config.data),
        },
        "base": {"name": inputs.base, "revision": inputs.revision},
        "versions": {name: version(name) for name in PACKAGES},
    }


def _distinct(rows: list[Row]) -> list[Row]:
    """The rows under ids that no two of them share: phases of a curriculum may hold the same row."""
    seen: Counter[str] = Counter()
    found = []
    for row in rows:
        seen[row.id] += 1
        found.append(row if seen[row.id] == 1 else replace(row, id=f"{row.id}#{seen[row.id]}"))
    return found


def _phases(counts: list[tuple[int, float]], rows: list[Row], examples: mask.Examples) -> list[Phase]:
    """Which of the examples that were kept belong to which file."""
    gone = set(examples.left_out)
    phases, first, row = [], 0, 0
    for count, epochs in counts:
        last = first + sum(each.id not in gone for each in rows[row : row + count])
        if last == first:
            raise DataError("a part of the curriculum has no row that fits into max_tokens")
        phases.append(Phase(first, last, epochs))
        first, row = last, row + count
    return phases


def _fingerprint(config: FitConfig, hashes: list[str | None], revision: str) -> str:
    """What this run is a function of, as 16 hex digits."""
    settings = config.model_dump(mode="json", exclude=NOT_IN_FINGERPRINT)
    epochs = [part.epochs for part in config.curriculum]
    versions = {name: version(name) for name in PACKAGES}
    whole = json.dumps([settings, epochs, hashes, revision, versions], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]
