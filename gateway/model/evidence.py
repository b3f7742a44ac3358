"""The lines in which a rollout's evidence is written down, and the hashes that chain them. Pure.

Each line is one thing that the rollout learnt from, in the order in which it learnt: who reads them in that order and does
the same has the same evidence. `docs/certificate.md` says what stands in each kind of line.

A line's hash covers every field but `text`, which holds words that somebody may have to erase; their own hash stands in the
body instead. A record's digest is in three parts for the same reason: what was asked and answered have a hash each.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson

from graduand.gateway.model import canonical, fields

SCHEMA_VERSION = 1

Json = dict[str, Any]
Kind = Literal[
    "begin", "read", "served", "pair", "verdict", "label", "outcome", "tick", "event", "part", "certificate"
]  # fmt: skip
# A digest: the record's id, the hash of all but its payloads, and the hash of each payload; None for one that is not there.
Digest = tuple[str, str, str | None, str | None]
PAYLOADS = ("request_json", "response_json")
assert fields.named(fields.Record, "payload") == PAYLOADS


@dataclass(slots=True)
class Trail:
    """How far a rollout's evidence is written: its newest line and that line's hash; of the digests of the records that were
    read, how many there are and their running hash."""

    number: int = 0
    head: str = ""
    records: int = 0
    digest: str = ""

    def write(self, rollout: str, at: float, kind: Kind, body: Json, text: str | None = None) -> Json:
        """The next line."""
        self.number += 1
        written: Json = {
            "schema_version": SCHEMA_VERSION, "id": f"{rollout}/{self.number}", "rollout": rollout, "number": self.number,
            "time": float(at), "kind": kind, "body": canonical.dumps(body).decode(), "previous": self.head, "text": text,
        }  # fmt: skip
        self.head = line_hash(written)
        return written

    def read(self, digest: Digest) -> None:
        """One more record was read."""
        self.records += 1
        self.digest = running(self.digest, digest)

    def to_dict(self) -> Json:
        """Plain data."""
        return asdict(self)


def line_hash(line: Json) -> str:
    """The hash of a line, whatever its text."""
    return canonical.sha256({name: value for name, value in line.items() if name != "text"})


def running(before: str, digest: Digest) -> str:
    """The running hash of digests after one more."""
    return canonical.sha256([before, list(digest)])


def text_hash(text: str | None) -> str | None:
    """The hash of a text that may be erased."""
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


def digest(record: Json) -> Digest:
    """The digest of a record of the log, be it a line of a segment or a row of a part."""
    bare = {name: value for name, value in record.items() if name not in PAYLOADS}
    asked, answered = (text_hash(record.get(name)) for name in PAYLOADS)
    return str(record["id"]), canonical.sha256(_plain(bare)), asked, answered


def _plain(value: Any) -> Any:
    """Without what is null, for a row has every column; whole numbers that a double does not hold are text."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > canonical.LARGEST:
        return str(value)
    return value


def encoded(line: Json) -> bytes:
    """A line as the log keeps it."""
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
