"""Checkpoints: where a run has got to, so that the same command goes on after a kill.

Invariant: a checkpoint file is whole or absent (written beside, flushed, then renamed), and is only ever continued by a
run with the same fingerprint: the same data, base, configuration and versions.
"""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graduand.gateway.errors import GraduandError


class CheckpointError(GraduandError, OSError):
    """A checkpoint cannot be written or read."""


@dataclass(slots=True)
class Checkpoint:
    """Everything that the next step depends on, besides what the fingerprint stands for."""

    step: int
    seconds: float
    adapter: dict[str, Any]
    optimizer: dict[str, Any]
    random_state: Any
    losses: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)  # the adapter at the least validation loss


class CheckpointFile:
    """The one checkpoint of the run `fingerprint` called `name` under `out`."""

    def __init__(self, out: Path, name: str, fingerprint: str) -> None:
        self._folder = out / f".{name}.fit"
        self.path = self._folder / f"{fingerprint}.pt"

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; a kill at any moment leaves the old one or the new one."""
        import torch

        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        values = {name: getattr(checkpoint, name) for name in Checkpoint.__slots__}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(values, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)
        except OSError as error:
            raise CheckpointError(f"cannot write the checkpoint {self.path}: {error}; give another --out") from error

    def load(self) -> Checkpoint | None:
        """The checkpoint of an earlier, unfinished run; None if there is none."""
        import torch

        if not self.path.is_file():
            return None
        try:
            return Checkpoint(**torch.load(self.path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises many kinds for a damaged file
            raise CheckpointError(f"the checkpoint {self.path} is damaged; remove it to start over: {error}") from error

    def remove(self) -> None:
        """Called once the adapter itself is on disk. Checkpoints of other configurations go with it."""
        shutil.rmtree(self._folder, ignore_errors=True)
