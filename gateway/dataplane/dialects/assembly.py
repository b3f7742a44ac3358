"""Put a stream's chunks together into the answer that the same request would have given without `stream`.

Source: OpenAI's API reference, chat completion chunk and completion chunk objects, and what servers make of them. Deltas are
joined by kind: strings are concatenated, also those inside a function call or audio; calls of tools by index and id; lists
(annotations, images, log probabilities) are extended, and in lists of parts (a content, reasoning details) the pieces of one
part are joined; what is unknown keeps its latest value.
"""

from typing import Any

import orjson

from graduand.gateway.model import lenient

Json = dict[str, Any]

NOT_TOP = ("choices", "usage")
# What of a choice is put together here; anything else is kept as it comes.
PUT_TOGETHER = frozenset(("index", "delta", "message", "text", "logprobs", "finish_reason"))
# Strings that come in pieces inside an object of a delta; others (ids, names of voices) come whole.
IN_PIECES = ("arguments", "name", "transcript", "data", "text", "summary", "content", "refusal", "input")
# Lists of parts of which each chunk brings a piece: OpenRouter's reasoning, Mistral's thinking.
OF_PARTS = ("reasoning_details", "thinking")
# All that a part may hold whose pieces have no number: a picture, say, is a part by itself.
PIECE = frozenset(("type", "text", "thinking"))


class Assembly:
    """Collects the chunks of one stream; `answer()` is the whole."""

    __slots__ = (
        "_choices", "_latest", "_parts", "_read", "_texts", "_top", "_widest", "calls", "finished", "pieces", "usage",
    )  # fmt: skip

    def __init__(self) -> None:
        self._top: Json = {}
        self._choices: dict[int, Json] = {}
        # Texts are joined once at the end: concatenating each piece would copy a long answer over and over.
        self._texts: dict[tuple[int, str], list[str]] = {}
        # A content that comes in parts: after how many pieces of its text which parts came.
        self._parts: dict[int, list[tuple[int, list[Any]]]] = {}
        # Of each choice the tool's call that was begun last with each index.
        self._latest: dict[int, dict[int, Json]] = {}
        self._widest = 0
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
        # Azure's first chunk holds filter results, and its fields are empty; with the last one citations may come.
        if len(chunk) > self._widest or not self._top.get("model"):
            self._widest = max(self._widest, len(chunk))
            self._fill(chunk)
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

    def _fill(self, chunk: Json) -> None:
        top = self._top
        for key, value in chunk.items():
            if key not in NOT_TOP and value != "" and not top.get(key) and (value is not None or key not in top):
                top[key] = value

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
                if at == index and (field != "tool_calls" or index not in self._latest):
                    (choice if field == "text" else choice["message"])[field] = lenient.mended("".join(pieces))
            if index in self._parts:
                choice["message"]["content"] = _in_order(self._parts[index], self._texts.get((index, "content"), []))
            choices.append(dict(choice))
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
        for key, value in choice.items():
            if key not in PUT_TOGETHER and value is not None:  # Azure's filter results, vLLM's stop_reason
                whole[key] = _joined(whole.get(key), value)
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
                    _add_tools(self._latest.setdefault(index, {}), message, value)
                    self.calls = True
                elif key == "content" and type(value) is list:
                    self._parts.setdefault(index, []).append((len(self._texts.get((index, key), ())), value))
                elif key in OF_PARTS and type(value) is list:
                    message[key] = _pieces_joined(message.get(key), value)
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
        if isinstance(old, list) and isinstance(value, list):
            joined[key] = [*old, *value]
        elif value is not None or key not in joined:  # log probabilities of a refusal come without those of a content
            joined[key] = value
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
        elif key in OF_PARTS and isinstance(value, list):
            joined[key] = _pieces_joined(old, value)
        elif value is not None:
            joined[key] = value
    return joined


def _in_order(parts: list[tuple[int, list[Any]]], texts: list[str]) -> list[Any]:
    """A content of parts, with the text that came beside them as parts at its place."""
    found: list[Any] = []
    done = 0
    for before, some in [*parts, (len(texts), [])]:
        text = lenient.mended("".join(texts[done:before]))
        found = _pieces_joined(found, [*([{"type": "text", "text": text}] if text else []), *some])
        done = before
    return found


def _pieces_joined(known: Any, more: list[Any]) -> list[Any]:
    """A list of parts with further pieces of them: those of one part have its index and type (OpenRouter's reference), or are
    nothing but text of the last one's type (Mistral's)."""
    found = list(known) if isinstance(known, list) else []
    for one in more:
        at = _part_of(found, one) if isinstance(one, dict) else -1
        if at < 0:
            # A part that is made of parts is put together as well, and what is joined is never the chunk's own.
            found.append(_joined({}, one) if isinstance(one, dict) else one)
        else:
            found[at] = _joined(found[at], one)
    return found


def _part_of(found: list[Any], one: Json) -> int:
    """Which of the parts that were found a piece belongs to; -1: none."""
    kind, number = one.get("type"), one.get("index")
    if number is not None:
        for at in range(len(found) - 1, -1, -1):
            part = found[at]
            if isinstance(part, dict) and part.get("index") == number and part.get("type") == kind:
                return at
        return -1
    last = found[-1] if found else None
    same = isinstance(last, dict) and last.get("type") == kind and PIECE.issuperset(one) and PIECE.issuperset(last)
    return len(found) - 1 if same else -1


def _add_tools(latest: dict[int, Json], message: Json, deltas: list[Any]) -> None:
    """Calls are told apart by their index, by their id where servers give every call the same index, or none, and by their
    names where they give neither."""
    known = message.get("tool_calls")
    tools: list[Json] = known if isinstance(known, list) else []
    message["tool_calls"] = tools
    begun = len(tools)
    for delta in deltas:
        if isinstance(delta, dict):
            add_call(latest, tools, delta, begun)


def add_call(latest: dict[int, Json], tools: list[Json], delta: Json, begun: int) -> Json:
    """Take a piece of a call in; the call as far as it came. `latest` has the call that was begun last with each index; the first
    `begun` of `tools` are of earlier chunks."""
    function = delta.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    tool = _tool_of(latest, tools, delta, name=name if isinstance(name, str) else "", begun=begun)
    for key, value in delta.items():
        if key not in ("index", "function") and value:
            tool[key] = _joined(tool.get(key), value) if isinstance(value, dict) else value
    if isinstance(function, dict):
        _add_function(tool.setdefault("function", {"name": "", "arguments": ""}), function)
    return tool


def _add_function(whole: Json, function: Json) -> None:
    name, piece = function.get("name"), function.get("arguments")
    if isinstance(name, str) and name != whole["name"]:  # some servers repeat it with each piece
        whole["name"] += name
    if isinstance(piece, str):
        whole["arguments"] += piece
    elif isinstance(piece, dict):
        whole["arguments"] += orjson.dumps(piece).decode()


def _tool_of(latest: dict[int, Json], tools: list[Json], delta: Json, *, name: str, begun: int) -> Json:
    """The call that a delta goes on with, or a new one. `name`: what the delta calls, if it says so."""
    index, number = delta.get("index"), delta.get("id")
    given = type(number) is str and number != ""
    tool: Json | None = None
    if type(index) is int:
        tool = latest.get(index)
        if tool is not None and given and tool["id"] not in (None, number):
            tool = _by_id(tools, number)  # a server that gives each call the same index
    elif given:
        tool = _by_id(tools, number)
    elif tools:
        tool = tools[-1]
    if tool is not None and name and not given and tool["id"] is None:
        at_once = type(index) is not int and len(tools) > begun
        tool = None if at_once or _is_another(tool, name) else tool
    if tool is None:
        kind = delta.get("type") or "function"
        tool = {"id": None, "type": kind, **({"function": {"name": "", "arguments": ""}} if kind == "function" else {})}
        tools.append(tool)
    if type(index) is int:
        latest[index] = tool
    return tool


def _by_id(tools: list[Json], number: Any) -> Json | None:
    return next((one for one in tools if one["id"] == number), None)


def _is_another(tool: Json, name: str) -> bool:
    """Whether what is named without an id is another call than this one: its arguments have come, all of them if both have one
    name."""
    function = tool.get("function")
    if not isinstance(function, dict) or not function["arguments"]:
        return False
    if name != function["name"]:
        return True
    try:
        orjson.loads(function["arguments"])
    except orjson.JSONDecodeError:
        return False  # some servers repeat the name with each piece
    return True
