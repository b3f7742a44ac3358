"""What is recorded, and what happens when there is no room: the checked form of the configuration's `record:` section."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RecordPolicy:
    """`redact` names kinds of redaction.KINDS; `patterns` are (name, pattern) of the user's own.

    `spool` is the folder of the segments (None: chosen by gateway.logs.places). `seal_s` is how long a segment stays open,
    `keep_days` how long parts are kept at the target (None: for ever).
    """

    redact: tuple[str, ...] = ()
    patterns: tuple[tuple[str, str], ...] = ()
    presidio: bool = False
    on_full: str = "drop"
    spool: str | None = None
    spool_mb: int | None = None
    seal_s: float = 60.0
    keep_days: int | None = None

    @property
    def redacts(self) -> bool:
        """Whether anything is to be taken out before a record is written."""
        return bool(self.redact or self.patterns or self.presidio)


DEFAULT = RecordPolicy()


def policy_from_json(data: dict[str, Any]) -> RecordPolicy:
    """The policy that `dataclasses.asdict` wrote."""
    patterns = tuple((name, pattern) for name, pattern in data["patterns"])
    return RecordPolicy(**{**data, "redact": tuple(data["redact"]), "patterns": patterns})
