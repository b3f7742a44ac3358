"""The part of the configuration file that says where adapters may be fetched from: `adapters:`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class AdaptersSection(BaseModel):
    """`cache`: the folder that fetched adapters are kept in, which engines must be able to read under the same path."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cache: Path | None = None  # by default `adapters` beside the state or the log
    hub_allow: list[str] = []  # owner/name, or patterns such as owner/*
