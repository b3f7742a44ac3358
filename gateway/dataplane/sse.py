"""Server-sent events, split from bytes that arrive in any chunks.

Source: the WHATWG HTML standard, section 9.2 (event streams), as far as model servers use it: `data` lines and comments.
Invariant: any chunking of the same bytes gives the same events, also inside a UTF-8 character or inside `data:`.
"""

from gateway.errors import GraduandError

MAX_EVENT_BYTES = 16 << 20


class EventTooLong(GraduandError, ValueError):
    """An upstream sent more than MAX_EVENT_BYTES without ending its event."""


class EventSplitter:
    """Feed it bytes; it returns the payloads (`data`) of the events that these bytes complete.

    >>> splitter = EventSplitter()
    >>> splitter.feed(b'data: {"a"'), splitter.feed(b':1}\\n\\nda'), splitter.feed(b'ta:[DONE]\\r\\n\\r\\n')
    ([], [b'{"a":1}'], [b'[DONE]'])
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Payloads completed by `data`, in order; raise EventTooLong on an endless event."""
        buffer = self._rest + data if self._rest else data
        if b"\r" in buffer:
            buffer = _plain_newlines(buffer)
        *blocks, self._rest = buffer.split(b"\n\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise EventTooLong(f"an upstream's event is longer than {MAX_EVENT_BYTES} bytes")
        return [payload for block in blocks if (payload := _payload(block)) is not None]

    @property
    def unfinished(self) -> bool:
        """Whether bytes of an event were received whose end never came."""
        return bool(self._rest.strip(b"\r\n"))


def _plain_newlines(buffer: bytes) -> bytes:
    # A carriage return at the very end may be the first half of \r\n: it stays until its other half is here.
    held = b"\r" if buffer.endswith(b"\r") else b""
    body = buffer[: len(buffer) - len(held)]
    return body.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + held


def _payload(block: bytes) -> bytes | None:
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = []
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
    return b"\n".join(lines) if lines else None
