"""What of a stream is held back, by the route's `release`: all of it, a window at its end, or nothing. Pure.

Invariant: of a watched text, what is released has at least `reach` characters after it that have been looked at. So what
begins in the held part never leaves before it is known to be harmless. And what shows a reader nothing (a role, say) leaves
no earlier than what follows it: as long as nothing has left, another model may answer instead.
"""

from collections import deque
from typing import Final

HOLD_ALL: Final = -1


class Window:
    """The events that are not released yet, oldest first. `pieces`: how many are held back; HOLD_ALL holds everything."""

    __slots__ = ("_held", "_leading", "_pieces", "_reach", "_waiting_characters", "_waiting_pieces")

    def __init__(self, pieces: int, reach: int = 0) -> None:
        self._pieces = pieces
        self._reach = reach
        self._held: deque[tuple[bytes, int, int]] = deque()
        self._leading: list[bytes] = []  # before all others, and without pieces
        self._waiting_pieces = 0
        self._waiting_characters = 0

    def hold_all(self) -> None:
        """Let nothing go any more before `rest`."""
        self._pieces = HOLD_ALL

    def add(self, events: bytes, pieces: int, characters: int) -> None:
        """Put in what came at once: so many pieces with so many characters of the watched text."""
        self._held.append((events, pieces, characters))
        self._waiting_pieces += pieces
        self._waiting_characters += characters

    def ready(self) -> bytes:
        """Take out what may leave."""
        if self._pieces == HOLD_ALL:
            return b""
        out = []
        held = self._held
        while held:
            events, pieces, characters = held[0]
            if not pieces and not characters and self._pieces:
                self._leading.append(held.popleft()[0])
                continue
            if self._waiting_pieces - pieces < self._pieces or self._waiting_characters - characters < self._reach:
                break
            held.popleft()
            self._waiting_pieces -= pieces
            self._waiting_characters -= characters
            if self._leading:
                out += self._leading
                self._leading.clear()
            out.append(events)
        return b"".join(out)

    def rest(self) -> bytes:
        """Take out everything."""
        out = b"".join([*self._leading, *[events for events, _, _ in self._held]])
        self._held.clear()
        self._leading.clear()
        return out
