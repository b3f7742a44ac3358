"""A run's configuration: one small YAML file; what is given on the command line wins over it.

Invariant: every key is known and every value checked before anything heavy is loaded or written.
"""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from graduand.gateway.adapters.adapter import RANKS
from graduand.gateway.errors import AdapterError, ConfigError, did_you_mean
from graduand.rollout.spec.names import check_name


class Part(BaseModel):
    """A part of a curriculum: rows that are learned before the others."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: Path
    epochs: float = Field(1.0, gt=0, le=1000)


class FitConfig(BaseModel):
    """What `graduand train fit` needs to know; the defaults suit a few hundred short rows on a CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: Path
    out: Path
    name: str
    base: str = "smollm2-135m"
    curriculum: tuple[Part, ...] = Field((), description="files that come before data, in this order")
    validation: Path | None = Field(None, description="rows whose loss is looked at after each epoch of data")
    patience: int = Field(0, ge=0, description="epochs without a better validation loss before it stops; 0: never")
    epochs: float = Field(3.0, gt=0, le=1000)
    rate: float = Field(8e-4, gt=0, lt=1)
    warm_up: float = Field(0.03, ge=0, lt=1, description="share of the steps")
    batch: int = Field(4, ge=1, description="rows a step")
    batch_tokens: int = Field(0, ge=0, description="tokens a step, with padding, in place of rows; 0: by rows")
    class_weight: Literal["none", "balanced"] = "none"
    upper_layers: int = Field(0, ge=0, description="train the adapter of so many upper layers only; 0: of all")
    rank: int = 16
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    gradient_limit: float = Field(1.0, gt=0, description="the norm that gradients are clipped to")
    max_tokens: int = Field(1024, ge=8)
    truncated_limit: float = Field(0.0, ge=0, lt=1, description="share of rows that may be longer than max_tokens")
    seed: int = Field(0, ge=0)
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    threads: int = Field(0, ge=0, description="0: as many as there are cores")
    checkpoint_steps: int = Field(20, ge=1)

    @property
    def phases(self) -> list[tuple[Path, float]]:
        """All files with their epochs, in the order in which they are learned."""
        return [*((part.data, part.epochs) for part in self.curriculum), (self.data, self.epochs)]

    @field_validator("name")
    @classmethod
    def _name_is_safe(cls, name: str) -> str:
        if "@" in name:
            raise ValueError("give the name without '@': the digest is added when the weights are known")
        try:
            return check_name(name)
        except AdapterError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _patience_needs_rows(self) -> "FitConfig":
        if self.patience and self.validation is None:
            raise ValueError("patience needs validation, a file of rows that are not trained on")
        return self

    @field_validator("rank")
    @classmethod
    def _rank_is_served(cls, rank: int) -> int:
        if rank not in RANKS:
            raise ValueError(f"servers accept the ranks {', '.join(map(str, RANKS))}")
        return rank


def fit_config(file: Path | None, given: dict[str, Any]) -> FitConfig:
    """The file's keys, overridden by those of `given` that are not None. `name` defaults to the data file's stem."""
    values = _file_values(file) if file else {}
    values |= {key: value for key, value in given.items() if value is not None}
    for key in ("data", "out"):
        if key not in values:
            raise ConfigError(f"{key!r} is missing: give --{key}, or the key {key!r} in the run's YAML file")
    values.setdefault("name", Path(str(values["data"])).name.split(".")[0])
    try:
        return FitConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_complaint(entry) for entry in error.errors())) from None


def _file_values(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the run's configuration: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file} must hold keys and values, such as 'epochs: 2'")
    for key in values:
        if key not in FitConfig.model_fields:
            known = ", ".join(FitConfig.model_fields)
            hint = did_you_mean(str(key), FitConfig.model_fields)
            raise ConfigError(f"{file}: unknown key {key!r}; known are {known}.{hint}")
    # Relative paths in a file are relative to that file, so that a run can be started from anywhere.
    paths = ("data", "out", "validation")
    found: dict[str, Any] = dict(values)
    found |= {key: file.parent / str(value) for key, value in values.items() if key in paths and value}
    if isinstance(found.get("curriculum"), list):
        found["curriculum"] = [_beside(file, part) for part in found["curriculum"]]
    return found


def _beside(file: Path, part: Any) -> Any:
    return part | {"data": file.parent / str(part["data"])} if isinstance(part, dict) and "data" in part else part


def _complaint(entry: Any) -> str:
    where = ".".join(str(part) for part in entry["loc"])
    if not where:  # it is about several keys together
        return str(entry["msg"].removeprefix("Value error, "))
    return f"{where}: {entry['msg'].removeprefix('Value error, ')} (it is {entry['input']!r})"
