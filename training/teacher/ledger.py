"""The ledger of what a teacher was asked and what it said: append-only JSON lines that survive `kill -9`.

Keyed on the words sent, the model and its parameters, so that no answer is paid for twice, whichever stage asks. Each
entry is flushed to the disk before it counts. Invariant: an entry is whole or absent; a line that a kill cut is dropped
when the ledger is opened again, and asked for anew. Never rewrites an entry.
"""

import contextlib
import fcntl
import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from graduand.gateway.errors import GraduandError
from graduand.rollout.answers.answers import Label, Unparsed
from graduand.rollout.answers.compare import label_of
from graduand.rollout.answers.tasks import Task


class LedgerError(GraduandError, OSError):
    """The ledger cannot be read or written, or another process has it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer, or the teacher's refusal to give one. `dollars` is None where no price is known."""

    key: str
    sample: str
    teacher: str
    model: str
    served_model: str
    prompt: str
    prompt_version: str
    parameters: Mapping[str, Any]
    repeat: int
    raw: str
    finish: str  # OpenAI's finish_reason
    prompt_tokens: int
    completion_tokens: int
    tokens_exact: bool  # false: the endpoint counted nothing and they are estimated
    dollars: float | None
    seconds: float
    time: float
    refused: str = ""


def key_of(messages_sha256: str, model: str, parameters: Mapping[str, Any], repeat: int) -> str:
    """What an answer is paid for by; `repeat` tells apart the same question asked again on purpose."""
    whole = orjson.dumps([messages_sha256, model, dict(parameters), repeat], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(whole).hexdigest()[:32]


def label(task: Task, entry: Entry) -> Label | Unparsed:
    """What the answer says. A refusal or a cut-off answer says nothing, even if a label can be read in it."""
    if entry.refused:
        return Unparsed(f"the teacher refused: {entry.refused}")
    if entry.finish != "stop":
        return Unparsed("cut off by max_tokens" if entry.finish == "length" else f"finish_reason {entry.finish!r}")
    return label_of(task, entry.raw)


class AnswerLedger:
    """An open ledger; one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+")
        except OSError as error:
            raise LedgerError(f"cannot open the ledger {path}: {error}; give another --ledger") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise LedgerError(
                f"another process is using the ledger {path}; wait for it, or give another --ledger"
            ) from error
        self._read()

    def _read(self) -> None:
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                entry = Entry(**orjson.loads(line))
            except (ValueError, TypeError) as error:
                self._file.close()
                raise LedgerError(f"{self.path}, line {number} is no entry ({error}); move the ledger away") from error
            self.entries[entry.key] = entry
            whole += len(line)
        self._file.truncate(whole)

    def add(self, entry: Entry) -> None:
        """Write one entry through to the disk."""
        try:
            self._file.write(orjson.dumps(asdict(entry), option=orjson.OPT_APPEND_NEWLINE))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise LedgerError(f"cannot write the ledger {self.path}: {error}; free space and run it again") from error
        self.entries[entry.key] = entry

    @property
    def dollars(self) -> float:
        """What all its answers have cost, those without a price left out."""
        return math.fsum(entry.dollars or 0.0 for entry in self.entries.values())  # whatever their order

    @property
    def tokens(self) -> int:
        """Tokens of all prompts and answers."""
        return sum(entry.prompt_tokens + entry.completion_tokens for entry in self.entries.values())

    def close(self) -> None:
        """Give the ledger free."""
        self._file.close()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[AnswerLedger]:
    """The ledger at `path`, closed at the end."""
    ledger = AnswerLedger(path)
    try:
        yield ledger
    finally:
        ledger.close()
