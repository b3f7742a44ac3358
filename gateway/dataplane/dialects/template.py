"""Recognise the next text chunk of a stream without parsing it.

Engines write every text chunk of a stream alike but for the text. A template keeps the bytes around the text of a chunk
that was parsed; a later chunk with the same bytes around another plain JSON string can only mean the same with another
text. Whatever differs in any other way (an end, an error, an escape, usage) does not match and is parsed.
"""

import re
from typing import Any, Final

import orjson

# What may stand between quotes and mean itself.
_PLAIN: Final = re.compile(rb'[^"\\\x00-\x1f]+')
_FIELDS: Final = (b'"content":"', b'"content": "', b'"text":"', b'"text": "')
_PROBE = "\x7fprobe"


class Template:
    """One chunk's surroundings: as they come (`before`, `after`) and as they go out to the client."""

    __slots__ = ("_after", "_before", "_out_after", "_out_before", "_shortest", "field", "index")

    def __init__(self, around: tuple[bytes, bytes], out_around: tuple[bytes, bytes], index: int, field: str) -> None:
        self._before, self._after = around
        self._out_before, self._out_after = b"data: " + out_around[0], out_around[1] + b"\n\n"
        self._shortest = len(self._before) + len(self._after)
        self.index = index
        self.field = field

    def text(self, payload: bytes) -> bytes:
        """The text of a chunk that matches, still encoded; b"" if it does not match."""
        if len(payload) <= self._shortest or not payload.startswith(self._before) or not payload.endswith(self._after):
            return b""
        text = payload[len(self._before) : len(payload) - len(self._after)]
        return text if _PLAIN.fullmatch(text) is not None else b""

    def framed(self, text: bytes) -> bytes:
        """The event for the client that carries `text`."""
        return b"%b%b%b" % (self._out_before, text, self._out_after)


def learn(payload: bytes, released: bytes, chunk: dict[str, Any]) -> Template | None:
    """The template of a parsed chunk that carries one plain text and nothing else, or None.

    `released` is the same chunk as it goes to the client.
    """
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or type(choices[0]) is not dict or chunk.get("usage") is not None:
        return None
    choice = choices[0]
    index = choice.get("index", 0)
    if choice.get("finish_reason") is not None or choice.get("logprobs") is not None or type(index) is not int:
        return None
    delta = choice.get("delta")
    field, holder = ("text", choice) if delta is None else ("content", delta)
    if type(holder) is not dict or (delta is not None and list(delta) != ["content"]):
        return None
    text = holder.get(field)
    if type(text) is not str or _PLAIN.fullmatch(encoded := text.encode()) is None:
        return None
    around, out_around = _around(payload, encoded), _around(released, encoded)
    if around is None or out_around is None:
        return None
    # Proof that the text found is the text meant: another one in its place changes that field and nothing else.
    holder[field] = _PROBE
    probed = orjson.loads(_PROBE.encode().join(around)) == chunk
    holder[field] = text
    return Template(around, out_around, index, field) if probed else None


def _around(payload: bytes, text: bytes) -> tuple[bytes, bytes] | None:
    for opening in _FIELDS:
        start = payload.find(opening + text + b'"')
        if start >= 0:
            start += len(opening)
            return payload[:start], payload[start + len(text) :]
    return None
