"""The configuration's `record:` section: what is recorded, and what happens when there is no room."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from graduand.gateway.errors import ConfigError
from graduand.gateway.model.recording import RecordPolicy


class PatternSection(BaseModel):
    """A pattern of your own, in RE2's syntax: what matches is replaced by `[redacted:NAME]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,30}$", description="small letters, digits and `_`")
    pattern: str = Field(min_length=1, max_length=2000, description="such as `'ORD-\\d+'`; no look-around")


class RecordSection(BaseModel):
    """What is recorded, what is taken out before, and what happens when there is no room."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    redact: list[str | PatternSection] = Field(
        [],
        description="taken out before a record is written: `email`, `phone`, `card`, `iban`, `ip`, `secret`, patterns",
    )
    presidio: bool = Field(False, description="also what Presidio finds; needs `pip install 'graduand[presidio]'`")
    on_full: Literal["drop", "block"] = Field(
        "drop", description="with no room: records are dropped and counted, or requests refused with 503"
    )
    spool: str | None = Field(
        None, description="the folder of what is not shipped yet; without it that of `logs`, or beside the state file"
    )
    spool_mb: int | None = Field(None, ge=1, description="mebibytes that the spool may take; without it the whole disk")
    seal_s: float = Field(60, gt=0, le=86400, description="seconds after which a segment is shipped, or at 32 MiB")
    keep_days: int | None = Field(None, ge=1, description="days that parts are kept; without it for ever")


def policy_of(section: RecordSection) -> RecordPolicy:
    """The checked policy; raise ConfigError on an unknown kind, a pattern RE2 refuses, or a missing presidio."""
    names = tuple(one for one in section.redact if isinstance(one, str))
    patterns = tuple((one.name, one.pattern) for one in section.redact if isinstance(one, PatternSection))
    policy = RecordPolicy(
        names, patterns, section.presidio, section.on_full, section.spool, section.spool_mb, section.seal_s,
        section.keep_days,
    )  # fmt: skip
    if policy.redacts:
        from graduand.gateway.logs import redaction  # RE2 is loaded only where something is redacted

        try:
            redaction.Redactor(policy)
        except ConfigError as error:
            raise ConfigError(f"record.{error}") from error
    return policy
