"""Recorded answers: read from JSON lines, found again by prompt.

One record a line: `{"messages": [...], "answer": "..."}` answers a chat whose messages are the same;
`{"text": "...", "answer": "..."}` answers a completion with that prompt, or a chat whose last user message is that text
when no record has the whole chat. A record with `model` answers only requests for that model, and wins over one
without. Other fields are ignored, so lines cut from a log can be used as they are.

Invariant: of several records for one prompt the last one answers. Must never guess: a prompt that differs in one
character is not found.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from graduand.gateway.errors import ConfigError
from graduand.gateway.model.openai import Json

Key = tuple[str | None, str]

# Counted as one token each: a run of word characters, or any other visible character. Leading blanks belong to it, so
# the pieces joined give the text back. There is no tokenizer here: this count is made to be stable, not to be OpenAI's.
PIECE = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")


def pieces(text: str) -> list[str]:
    """`text` cut into the pieces that are streamed and counted, nothing lost."""
    return PIECE.findall(text)


def count_tokens(text: str) -> int:
    """How many words and other visible characters `text` has: what this server reports as tokens."""
    return sum(1 for piece in pieces(text) if not piece.isspace())


def content_text(content: Any) -> str:
    """A message's content as one text: OpenAI's list of text parts means the same as its parts joined."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list) and all(_is_text_part(part) for part in content):
        return "".join(part["text"] for part in content)
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode()


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def messages_problem(messages: Any) -> str | None:
    """Why `messages` is no chat, or None if it is one."""
    if not isinstance(messages, list) or not messages:
        return "must be a non-empty list of messages"
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return f"item {index} must be an object with a role, such as {{'role': 'user', 'content': 'Hello'}}"
        if not isinstance(message.get("content"), str | list | None):
            return f"item {index} must have text or a list of parts as its content"
    try:
        orjson.dumps({"messages": messages})  # what follows compares and shows them in this form
    except TypeError:
        return "are nested too deeply"
    return None


def _chat_key(messages: Sequence[Json]) -> str:
    return orjson.dumps([[message["role"], content_text(message.get("content"))] for message in messages]).decode()


@dataclass(slots=True)
class Recordings:
    """Answers by prompt; `replaced` counts the records whose different answer was overruled by a later one."""

    chats: dict[Key, str] = field(default_factory=dict)
    texts: dict[Key, str] = field(default_factory=dict)
    models: dict[str, None] = field(default_factory=dict)
    replaced: int = 0

    def __len__(self) -> int:
        return len(self.chats) + len(self.texts)

    def add(self, record: Any) -> None:
        """Take one record; raise ValueError saying what is wrong with it."""
        if not isinstance(record, dict):
            raise ValueError("a record must be a JSON object")
        answer, model = record.get("answer"), record.get("model")
        if not isinstance(answer, str):
            raise ValueError("'answer' must be a string")
        if model is not None and not isinstance(model, str):
            raise ValueError("'model' must be a string")
        if ("messages" in record) == ("text" in record):
            raise ValueError("a record needs either 'messages' or 'text', and not both")
        if model:
            self.models[model] = None
        table, prompt = self._place(record)
        key = (model or None, prompt)
        self.replaced += table.get(key, answer) != answer
        table[key] = answer

    def _place(self, record: Json) -> tuple[dict[Key, str], str]:
        if "text" in record:
            if not isinstance(record["text"], str):
                raise ValueError("'text' must be a string")
            return self.texts, record["text"]
        if problem := messages_problem(record["messages"]):
            raise ValueError(f"'messages' {problem}")
        return self.chats, _chat_key(record["messages"])

    def chat_answer(self, model: str, messages: Sequence[Json]) -> str | None:
        """The recorded answer to a chat: by all its messages, else by its last user message."""
        answer = _find(self.chats, model, _chat_key(messages))
        if answer is not None:
            return answer
        said = [content_text(message.get("content")) for message in messages if message["role"] == "user"]
        return _find(self.texts, model, said[-1]) if said else None

    def text_answer(self, model: str, prompt: str) -> str | None:
        """The recorded answer to a completion's prompt."""
        return _find(self.texts, model, prompt)


def _find(table: dict[Key, str], model: str, prompt: str) -> str | None:
    answer = table.get((model, prompt))
    return table.get((None, prompt)) if answer is None else answer


def parse(lines: Iterable[bytes], source: str) -> Recordings:
    """Read records from JSON lines; raise ConfigError naming `source` and the line of the first bad one."""
    recordings = Recordings()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            recordings.add(orjson.loads(line))
        except ValueError as error:  # orjson's decoding error is one too
            raise ConfigError(f"{source}, line {number}: {error}") from error
    if not recordings:
        raise ConfigError(f'{source} holds no answers; add lines such as {{"text": "Hello", "answer": "Hi"}}')
    return recordings


def read(path: Path) -> Recordings:
    """Read a file of recorded answers; raise ConfigError if it cannot be read or has a bad line."""
    try:
        with path.open("rb") as file:
            return parse(file, str(path))
    except OSError as error:
        raise ConfigError(f"cannot read the recorded answers {path}: {error.strerror or error}") from error
