"""Stop strings in a text that arrives in pieces.

Invariant: what has been released never contains a stop string nor the beginning of one that may still be completed;
the released pieces joined are exactly the text before the first stop string to be completed.
"""

from collections.abc import Sequence


class StopFilter:
    """Releases text as soon as no stop string can begin in it."""

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        self._stops = tuple(stops)
        self._include = include
        self._held = ""
        self.matched: str | None = None

    def push(self, piece: str) -> str:
        """Take the next piece; answer what may be released now. After a match nothing more is released."""
        if self.matched is not None:
            return ""
        if not self._stops:
            return piece
        self._held += piece
        found = self._first_match()
        if found is not None:
            start, self.matched = found
            end = start + len(self.matched) if self._include else start
            return self._release(end)
        return self._release(len(self._held) - self._tail())

    def finish(self) -> str:
        """The text has ended: release what was held back in case it became a stop string."""
        return "" if self.matched is not None else self._release(len(self._held))

    def _release(self, end: int) -> str:
        released, self._held = self._held[:end], self._held[end:]
        return released

    def _first_match(self) -> tuple[int, str] | None:
        """Of all stop strings in the held text the one that is complete first, as if it came character by character."""
        found = [(self._held.find(stop), stop) for stop in self._stops]
        complete = [(start + len(stop), start, stop) for start, stop in found if start >= 0]
        if not complete:
            return None
        _, start, stop = min(complete, key=lambda match: match[0])
        return start, stop

    def _tail(self) -> int:
        """Length of the longest end of the held text with which a stop string begins."""
        longest = max(len(stop) for stop in self._stops) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            end = self._held[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
