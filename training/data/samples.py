"""Samples: what the stages before training pass to each other, one JSON object a line.

A sample is a prompt with whatever is known about it: gold, teachers' raw answers, the completion to learn, whose it is.
A file whose samples all have a completion is what `train fit` reads. Invariant: what is read is whole; anything else is
an error that names file, line and remedy. Never drops a sample in silence.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from graduand.training.data.rows import DataError, chat, check_prompted, read_all, weight_of

TEXTS = ("completion", "gold", "user", "conversation", "source")
MAPPINGS = ("answers", "notes")


@dataclass(frozen=True, slots=True)
class Sample:
    """A chat (`messages`) or a plain text (`prompt`), exactly one of the two, and what is known about it."""

    id: str
    messages: tuple[dict[str, str], ...] | None = None
    prompt: str | None = None
    completion: str | None = None  # what a student is to learn to answer
    gold: str | None = None  # what a person says is right: a label's spelling, or a whole answer
    answers: Mapping[str, str] = field(default_factory=dict)  # a teacher's name to its raw answer
    user: str | None = None
    conversation: str | None = None
    source: str | None = None
    weight: float = 1.0
    notes: Mapping[str, str] = field(default_factory=dict)  # explanation traces, who corrected what and when

    @property
    def text(self) -> str:
        """What the user said last: what baselines and duplicate searches look at."""
        if self.messages is None:
            return self.prompt or ""
        return next((message["content"] for message in reversed(self.messages) if message["role"] == "user"), "")

    @property
    def whole(self) -> str:
        """The whole conversation: what a sample is known by. Others may end with the same words."""
        if self.messages is None:
            return self.prompt or ""
        said = [(message["role"], message["content"]) for message in self.messages]
        return said[0][1] if len(said) == 1 else "\n".join(f"{role}: {content}" for role, content in said)

    @property
    def prompt_sha256(self) -> str:
        """Equal for equal prompts, whatever the id and the answers."""
        return hashlib.sha256(orjson.dumps([self.messages, self.prompt])).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The sample without what is not known."""
        values = {name: getattr(self, name) for name in ("id", "messages", "prompt", *TEXTS)}
        known = {name: value for name, value in values.items() if value is not None}
        if self.weight != 1.0:
            known["weight"] = self.weight
        return known | {name: dict(getattr(self, name)) for name in MAPPINGS if getattr(self, name)}


def of_text(identity: str, text: str, **known: Any) -> Sample:
    """A sample that is a chat of one message."""
    return Sample(identity, messages=({"role": "user", "content": text},), **known)


def read_samples(path: Path) -> list[Sample]:
    """All samples of a file, or of `rows.jsonl` in a stage's folder; raises DataError at the first bad one."""
    return read_all(path / "rows.jsonl" if path.is_dir() else path, parse_sample, "samples", "'messages' or 'prompt'")


def parse_sample(value: Any, default_id: str) -> Sample:
    """One decoded sample, checked."""
    identity = check_prompted(value, "sample", default_id)
    prompt = value.get("prompt")
    if "prompt" in value and (not isinstance(prompt, str) or not prompt):
        raise DataError(f"'prompt' must be a text that is not empty; it is {prompt!r}")
    messages = chat(value["messages"]) if "messages" in value else None
    known: dict[str, Any] = {name: _text(value, name) for name in TEXTS}
    known |= {name: _texts(value, name) for name in MAPPINGS}
    return Sample(identity, messages, prompt, weight=weight_of(value), **known)


def _text(value: dict[str, Any], key: str) -> str | None:
    text = value.get(key)
    if key == "gold" and isinstance(text, int | float):
        return str(text).lower()  # true, 1 and 0.5 as JSON spells them
    if text is not None and not isinstance(text, str):
        raise DataError(f"{key!r} must be a text; it is {text!r}")
    return text


def _texts(value: dict[str, Any], key: str) -> dict[str, str]:
    texts = value.get(key, {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise DataError(f"{key!r} must be an object whose values are texts; it is {texts!r}")
    return texts


def write_samples(path: Path, samples: Iterable[Sample]) -> int:
    """Write whole or not at all; returns how many there were."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            for sample in samples:
                count += 1
                file.write(orjson.dumps(sample.as_json(), option=orjson.OPT_APPEND_NEWLINE))
        partial.replace(path)
    except OSError as error:
        raise DataError(f"cannot write the samples: {error}") from error
    return count
