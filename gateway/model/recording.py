"""What is recorded, and what happens when there is no room: the configuration's `record:` section."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of your own, in RE2's syntax: what matches is replaced by `[redacted:NAME]`."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$", description="small letters, digits and `_`")]
    pattern: Annotated[str, Field(min_length=1, max_length=2000, description="such as `'ORD-\\d+'`; no look-around")]


@dataclass(frozen=True, slots=True)
class RecordPolicy:
    """What is recorded, what is taken out before, and what happens when there is no room.

    Where the spool is without `spool` is chosen by gateway.logs.places.
    """

    redact: Annotated[
        tuple[str | Pattern, ...],
        Field(
            description="taken out before a record is written: `email`, `phone`, `card`, `iban`, `ip`, `secret`, patterns"
        ),
    ] = ()
    presidio: Annotated[
        bool, Field(description="also what Presidio finds; needs `pip install 'graduand[presidio]'`")
    ] = False
    on_full: Annotated[
        Literal["drop", "block"],
        Field(description="with no room: records are dropped and counted, or requests refused with 503"),
    ] = "drop"
    spool: Annotated[
        str | None,
        Field(description="the folder of what is not shipped yet; without it that of `logs`, or beside the state file"),
    ] = None
    spool_mb: Annotated[
        int | None,
        Field(ge=1, le=10**9, description="mebibytes that the spool may take; without it the whole disk"),
    ] = None
    seal_s: Annotated[
        float, Field(gt=0, le=86400, description="seconds after which a segment is shipped, or at 32 MiB")
    ] = 60
    keep_days: Annotated[
        int | None, Field(ge=1, le=36_500, description="days that parts are kept; without it for ever")
    ] = None

    @property
    def kinds(self) -> list[str]:
        """The kinds of redaction.KINDS that are taken out."""
        return [one for one in self.redact if isinstance(one, str)]

    @property
    def patterns(self) -> list[Pattern]:
        """The user's own patterns."""
        return [one for one in self.redact if not isinstance(one, str)]

    @property
    def redacts(self) -> bool:
        """Whether anything is to be taken out before a record is written."""
        return bool(self.redact or self.presidio)


DEFAULT = RecordPolicy()
