"""Put a stream's chunks together into the answer that the same request would have given without `stream`.

Source: OpenAI's API reference, chat completion chunk and completion chunk objects, and what servers make of them. Deltas are
joined by kind: strings are concatenated, also those inside a function call or audio; calls of tools by index and id; lists
(annotations, images, reasoning details, log probabilities) are extended; what is unknown keeps its latest value.
"""

from typing import Any

import orjson

from graduand.gateway.model import lenient

Json = dict[str, Any]

NOT_TOP = ("choices", "usage")
# Strings that come in pieces inside an object of a delta; others (ids, names of voices) come whole.
IN_PIECES = ("arguments", "name", "transcript", "data", "text", "summary", "content", "refusal")


class Assembly:
    """Collects the chunks of one stream; `answer()` is the whole."""

    __slots__ = ("_choices", "_read", "_texts", "_top", "calls", "finished", "pieces", "usage")

    def __init__(self) -> None:
        self._top: Json = {}
        self._choices: dict[int, Json] = {}
        # Texts are joined once at the end: concatenating each piece would copy a long answer over and over.
        self._texts: dict[tuple[int, str], list[str]] = {}
        self.finished: set[int] = set()
        self.pieces = 0
        self.calls = False  # whether a tool is called
        self._read = 0
        self.usage: Json | None = None

    @property
    def complete(self) -> bool:
        """Whether every choice that began has said why it ended."""
        return bool(self._choices) and len(self.finished) == len(self._choices)

    @property
    def text_pieces(self) -> int:
        """How many pieces of text have come."""
        return sum(map(len, self._texts.values()))

    def add(self, chunk: Json) -> bool:
        """Take one chunk in; return whether it carries anything that a reader would see (text, tools, an end)."""
        top = self._top
        if not top or not top.get("model"):  # Azure's first chunk holds filter results, and its fields are empty
            self._top = {**top, **{key: value for key, value in chunk.items() if key not in NOT_TOP and value != ""}}
        usage = chunk.get("usage")
        if type(usage) is dict:
            self.usage = usage
        visible = False
        choices = chunk.get("choices")
        if type(choices) is list:
            for choice in choices:
                if type(choice) is dict:
                    visible |= self._add_choice(choice)
        return visible

    def add_text(self, index: int, field: str, text: str) -> None:
        """Take a piece of text in whose choice has begun; `field` is content or text."""
        self._text(index, field, text)

    def calls_so_far(self) -> list[Json]:
        """The first choice's calls of tools, as far as they came."""
        choice = self._choices.get(0)
        message: Json = {} if choice is None else choice.get("message") or {}
        calls: list[Json] = message.get("tool_calls") or []
        return calls

    def unread(self) -> str:
        """The first choice's text that has come since the last call."""
        pieces = self._texts.get((0, "content")) or self._texts.get((0, "text"))
        if pieces is None or len(pieces) == self._read:
            return ""
        new = pieces[self._read :]
        self._read = len(pieces)
        return lenient.mended("".join(new))

    def answer(self) -> Json:
        """The whole answer, as far as it came."""
        kind = str(self._top.get("object", ""))
        if kind.startswith("chat.completion"):
            kind = "chat.completion"
        choices = []
        for index in sorted(self._choices):
            choice = self._choices[index]
            for (at, field), pieces in self._texts.items():
                if at == index:
                    (choice if field == "text" else choice["message"])[field] = lenient.mended("".join(pieces))
            choices.append({key: value for key, value in choice.items() if key != "_tools"})
        return {**self._top, "object": kind, "choices": choices, "usage": self.usage}

    def encoded(self) -> str | None:
        """The whole answer as JSON; None if it is nested deeper than can be written."""
        answer = self.answer()
        try:
            return orjson.dumps(answer).decode()
        except TypeError:
            pass
        try:  # half pairs in the arguments of tools, say
            return lenient.encoded(answer).decode()
        except lenient.Unreadable:
            return None

    def _add_choice(self, choice: Json) -> bool:
        index = choice.get("index", 0)
        if type(index) is not int:
            return False
        whole = self._choices.get(index)
        if whole is None:
            whole = self._choices[index] = {"index": index, "finish_reason": None}
            if "delta" in choice:
                whole["message"] = {"role": "assistant", "content": None}
        visible = False
        delta = choice.get("delta")
        if type(delta) is dict:
            visible = self._add_delta(index, whole, delta)
        text = choice.get("text")
        if type(text) is str and text:
            self._text(index, "text", text)
            visible = True
        elif text == "" and (index, "text") not in self._texts:
            self._texts[index, "text"] = []
        logprobs = choice.get("logprobs")
        if logprobs is not None:
            whole["logprobs"] = _extended(whole.get("logprobs"), logprobs)
        reason = choice.get("finish_reason")
        if reason is not None:
            whole["finish_reason"] = reason
            self.finished.add(index)
            visible = True
        return visible

    def _add_delta(self, index: int, whole: Json, delta: Json) -> bool:
        visible = False
        message: Json = whole.setdefault("message", {"role": "assistant", "content": None})
        for key, value in delta.items():
            if value is None:
                continue
            if key == "role":
                message["role"] = value
            elif type(value) is str:
                if value:
                    self._text(index, key, value)
                    visible = True
                elif (index, key) not in self._texts:
                    self._texts[index, key] = []
            else:
                if key == "tool_calls" and type(value) is list:
                    _add_tools(whole, message, value)
                    self.calls = True
                elif key == "reasoning_details" and type(value) is list:
                    message[key] = _details(message.get(key), value)
                else:
                    self.calls = self.calls or key == "function_call"
                    message[key] = _joined(message.get(key), value)
                self.pieces += 1
                visible = True
        return visible

    def _text(self, index: int, field: str, text: str) -> None:
        pieces = self._texts.get((index, field))
        if pieces is None:
            pieces = self._texts[index, field] = []
        pieces.append(text)
        self.pieces += 1


def _extended(known: Any, more: Any) -> Any:
    if not isinstance(known, dict) or not isinstance(more, dict):
        return more
    joined = dict(known)
    for key, value in more.items():
        old = joined.get(key)
        joined[key] = [*old, *value] if isinstance(old, list) and isinstance(value, list) else value
    return joined


def _joined(known: Any, more: Any) -> Any:
    """An object of deltas joined by its fields, a list extended; anything else is what came last."""
    if isinstance(known, list) and isinstance(more, list):
        return [*known, *more]
    if not isinstance(known, dict) or not isinstance(more, dict):
        return more
    joined = dict(known)
    for key, value in more.items():
        old = joined.get(key)
        if isinstance(old, str) and isinstance(value, str) and key in IN_PIECES:
            joined[key] = old + value
        elif value is not None:
            joined[key] = value
    return joined


def _details(known: Any, more: list[Any]) -> list[Any]:
    """Reasoning details: pieces of one detail have its index and type (OpenRouter's reference)."""
    found = list(known) if isinstance(known, list) else []
    for one in more:
        last = found[-1] if found else None
        same = (
            isinstance(one, dict)
            and isinstance(last, dict)
            and "index" in one
            and (one["index"], one.get("type")) == (last.get("index"), last.get("type"))
        )
        if same:
            found[-1] = _joined(last, one)
        else:
            found.append(one)
    return found


def _add_tools(whole: Json, message: Json, deltas: list[Any]) -> None:
    """Calls are told apart by their index, and by their id where servers give every call the same index, or none."""
    latest: dict[int, Json] = whole.setdefault("_tools", {})
    tools: list[Json] = message.setdefault("tool_calls", [])
    for delta in deltas:
        if not isinstance(delta, dict):
            continue
        tool = tool_of(latest, tools, delta)
        tool.update({key: value for key, value in delta.items() if key not in ("index", "function") and value})
        function = delta.get("function")
        if isinstance(function, dict):
            for key in ("name", "arguments"):
                piece = function.get(key)
                if type(piece) is str:
                    tool["function"][key] += piece
                elif key == "arguments" and isinstance(piece, dict):
                    tool["function"][key] += orjson.dumps(piece).decode()


def tool_of(latest: dict[int, Json], tools: list[Json], delta: Json) -> Json:
    """The call that a delta goes on with, or a new one. `latest` has the call that was begun last with each index."""
    index, number = delta.get("index"), delta.get("id")
    given = type(number) is str and number != ""
    tool: Json | None = None
    if type(index) is int:
        tool = latest.get(index)
        if tool is not None and given and tool["id"] not in (None, number):
            tool = None  # a server that gives each call the same index
    elif given:
        tool = next((one for one in tools if one["id"] == number), None)
    elif tools:
        tool = tools[-1]
    if tool is None:
        tool = {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
        tools.append(tool)
    if type(index) is int:
        latest[index] = tool
    return tool
