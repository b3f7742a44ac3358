"""Server-sent events, split from bytes that arrive in any chunks.

Source: the WHATWG HTML standard, section 9.2 (event streams), as far as model servers use it: `data` lines and comments.
Invariant: any chunking of the same bytes gives the same events, also inside a UTF-8 character or inside `data:`.
"""

from typing import Final

from graduand.gateway.errors import GraduandError

MAX_EVENT_BYTES = 16 << 20
BOM: Final = b"\xef\xbb\xbf"


class EventTooLong(GraduandError, ValueError):
    """An upstream sent more than MAX_EVENT_BYTES without ending its event."""


class EventSplitter:
    """Feed it bytes; it returns the payloads (`data`) of the events that these bytes complete.

    >>> splitter = EventSplitter()
    >>> splitter.feed(b'data: {"a"'), splitter.feed(b':1}\\n\\nda'), splitter.feed(b'ta:[DONE]\\r\\n\\r\\n')
    ([], [b'{"a":1}'], [b'[DONE]'])
    """

    __slots__ = ("_after_return", "_begun", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._after_return = False
        self._begun = False

    def feed(self, data: bytes) -> list[bytes]:
        """Payloads completed by `data`, in order; raise EventTooLong on an endless event."""
        if self._after_return or b"\r" in data:
            data = self._plain_newlines(data)
        buffer = self._rest + data if self._rest else data
        if not self._begun:
            if BOM.startswith(buffer):  # all of it, or a part of it so far
                self._rest = buffer
                return []
            self._begun = True
            buffer = buffer.removeprefix(BOM)
        *blocks, self._rest = buffer.split(b"\n\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise EventTooLong(f"an upstream's event is longer than {MAX_EVENT_BYTES} bytes")
        return [payload for block in blocks if (payload := _payload(block)) is not None]

    def finish(self) -> bytes | None:
        """Call at the end of the bytes: the payload of an event that no blank line ended, or None.

        The standard throws such an event away. Servers that end with `data: [DONE]` and one newline mean it all the same; who
        takes it must see to it that it is whole.
        """
        rest, self._rest = self._rest, b""
        return _payload(rest.rstrip(b"\n")) if rest.strip(b"\n") else None

    def _plain_newlines(self, data: bytes) -> bytes:
        # A carriage return ends its line at once; should its line feed come with the next bytes, it ends no other.
        if self._after_return and data:
            data = data.removeprefix(b"\n")
            self._after_return = False
        self._after_return |= data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _payload(block: bytes) -> bytes | None:
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = []
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
    return b"\n".join(lines) if lines else None
